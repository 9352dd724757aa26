// `SamplingNetwork`: linear attention over the columns. A block of the network is finished by one kernel, which also sums the
// next block's context Σ φ(k)·vᵀ and Σ φ(k), multiplicities as weights; the backward pass recomputes a block from its input.
//
// A block of threads works on WIDTH columns whose activations are feature-major matrices in shared memory. A thread has the
// columns `lane`, `lane + 32`, .. and, of every matrix product, four outputs at a time; different warps have different outputs.

#if NETWORK == 2

/// Threads of a block, its warps, and its columns: PER_LANE for each lane of a warp.
#define TEAM 256
#define WARPS (TEAM / 32)
#define WIDTH (32 * PER_LANE)
/// Columns of shared-memory matrices, one more so that walking down a column meets all banks.
#define SPREAD (WIDTH + 1)
/// Values of a context: per head HEAD_DIM × HEAD_DIM of Σ φ(k)·vᵀ, then Σ φ(k).
#define CONTEXT (D * HEAD_DIM + D)
#define ATTENTION_EPS 1e-6f
#define NORM_EPS 1e-5f
#define PADDED(n) (((n) + 3) / 4 * 4)
/// Rows of the matrix that holds hidden values, or anything else with a row a feature.
#define ROOM (FFN_HIDDEN > D ? FFN_HIDDEN : D)
#define MATRIX(name, rows) __shared__ float name[(rows) * SPREAD]

/// `finish(output, column, values)` for every fourth output and every column, with the values Σ_i w[i][output + 0..4]·x[i].
template <int OUTPUTS, typename Finish>
__device__ inline void multiply(const float *__restrict__ w, int inputs, const float *x, Finish finish) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int output = 4 * warp; output < OUTPUTS; output += 4 * WARPS) {
        float sums[PER_LANE][4];
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) {
            sums[c][0] = sums[c][1] = sums[c][2] = sums[c][3] = 0.0f;
        }
#pragma unroll 8
        for (int i = 0; i < inputs; i++) {
            float4 v = __ldg(reinterpret_cast<const float4 *>(w + i * PADDED(OUTPUTS) + output));
#pragma unroll
            for (int c = 0; c < PER_LANE; c++) {
                float value = x[i * SPREAD + lane + 32 * c];
                sums[c][0] += v.x * value;
                sums[c][1] += v.y * value;
                sums[c][2] += v.z * value;
                sums[c][3] += v.w * value;
            }
        }
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) {
            finish(output, lane + 32 * c, sums[c]);
        }
    }
}

/// `each(feature, column)` for every feature and column, the same thread for the same ones in every call and in [`multiply`].
template <typename Each> __device__ inline void for_features(Each each) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int feature = 4 * warp; feature < D; feature += 4 * WARPS) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            if (feature + r < D) {
#pragma unroll
                for (int c = 0; c < PER_LANE; c++) {
                    each(feature + r, lane + 32 * c);
                }
            }
        }
    }
}

/// Sums over the block's columns of `a·bᵀ` within each head, and of `a·e` with the head's `e` (1 where it is null).
__device__ inline void sum_pairs(const float *a, const float *b, const float *e, float *__restrict__ out) {
    __syncthreads();
    for (int at = threadIdx.x; at < CONTEXT; at += TEAM) {
        int i = at < D * HEAD_DIM ? at / HEAD_DIM : at - D * HEAD_DIM, head = i / HEAD_DIM;
        float sum = 0.0f;
        const float *other = at < D * HEAD_DIM ? b + (head * HEAD_DIM + at % HEAD_DIM) * SPREAD
            : e                                ? e + head * SPREAD
                                               : nullptr;
        if (other) {
#pragma unroll 8
            for (int t = 0; t < WIDTH; t++) {
                sum += a[i * SPREAD + t] * other[t];
            }
        } else {
#pragma unroll 8
            for (int t = 0; t < WIDTH; t++) {
                sum += a[i * SPREAD + t];
            }
        }
        out[at] = sum;
    }
    __syncthreads();
}

/// Weighted φ(k) and v of the block's columns, and its share of the context. `x` is not overwritten.
__device__ inline void gather_context(
    const float *block, const float *x, const float *__restrict__ count, float *keys, float *values,
    float *__restrict__ partial
) {
    multiply<D>(block + B_KEY, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            float k = sums[r] + block[B_QKV_BIAS + D + output + r];
            keys[(output + r) * SPREAD + column] = count[column] * feature_map(k);
        }
    });
    multiply<D>(block + B_VALUE, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            values[(output + r) * SPREAD + column] = sums[r] + block[B_QKV_BIAS + 2 * D + output + r];
        }
    });
    sum_pairs(keys, values, nullptr, partial + (size_t)blockIdx.x * CONTEXT);
}

/// The block's share of the features' sum, multiplicities as weights. `x` is not overwritten.
__device__ inline void gather_mean(const float *x, const float *__restrict__ count, float *__restrict__ partial) {
    __syncthreads();
    for (int j = threadIdx.x; j < D; j += TEAM) {
        float sum = 0.0f;
        for (int t = 0; t < WIDTH; t++) {
            sum += count[t] * x[j * SPREAD + t];
        }
        partial[(size_t)blockIdx.x * D + j] = sum;
    }
}

/// φ(q) of the block's columns, the attention's result, and 1/denominator of each head where it is asked for.
__device__ inline void attend(
    const float *block, const float *x, const float *__restrict__ context, float *queries, float *attended,
    float *inverse
) {
    multiply<D>(block + B_QUERY, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            queries[(output + r) * SPREAD + column] = feature_map(sums[r] + block[B_QKV_BIAS + output + r]);
        }
    });
    __syncthreads();
    for_features([&](int j, int column) {
        int first = j / HEAD_DIM * HEAD_DIM;
        float numerator = 0.0f, denominator = ATTENTION_EPS;
#pragma unroll
        for (int i = 0; i < HEAD_DIM; i++) {
            float q = queries[(first + i) * SPREAD + column];
            numerator += q * context[(first + i) * HEAD_DIM + j - first];
            denominator += q * context[D * HEAD_DIM + first + i];
        }
        attended[j * SPREAD + column] = numerator / denominator;
        if (inverse && j == first) {
            inverse[j / HEAD_DIM * SPREAD + column] = 1.0f / denominator;
        }
    });
    __syncthreads();
}

/// Mean of each of the thread's columns and 1/√(var + eps); every warp computes the same.
__device__ inline void moments(const float *x, float *mean, float *deviation) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int c = 0; c < PER_LANE; c++) {
        float sum = 0.0f, squares = 0.0f;
#pragma unroll 8
        for (int j = 0; j < D; j++) {
            sum += x[j * SPREAD + lane + 32 * c];
        }
        mean[c] = sum / D;
#pragma unroll 8
        for (int j = 0; j < D; j++) {
            float apart = x[j * SPREAD + lane + 32 * c] - mean[c];
            squares += apart * apart;
        }
        deviation[c] = 1.0f / sqrtf(squares / D + NORM_EPS);
    }
}

/// Through the norm and back: `gradient` holds d output·weight and becomes r·(g − mean g − x̂·mean(g·x̂)).
__device__ inline void norm_backward(const float *normal, const float *deviation, float *gradient) {
    int lane = threadIdx.x % 32;
    float plain[PER_LANE], weighted[PER_LANE];
    __syncthreads();
#pragma unroll
    for (int c = 0; c < PER_LANE; c++) {
        plain[c] = weighted[c] = 0.0f;
#pragma unroll 8
        for (int j = 0; j < D; j++) {
            float g = gradient[j * SPREAD + lane + 32 * c];
            plain[c] += g;
            weighted[c] += g * normal[j * SPREAD + lane + 32 * c];
        }
        plain[c] /= D;
        weighted[c] /= D;
    }
    __syncthreads();
    for_features([&](int j, int column) {
        int c = column / 32;
        float *g = gradient + j * SPREAD + column;
        *g = deviation[c] * (*g - plain[c] - normal[j * SPREAD + column] * weighted[c]);
    });
    __syncthreads();
}

/// h⁰ of every column and the first block's context. Grid: columns / WIDTH.
extern "C" __global__ void __launch_bounds__(TEAM) encode(
    const float *__restrict__ packed, const float *__restrict__ ell, const float *__restrict__ count, int columns,
    float *__restrict__ out, float *__restrict__ partial
) {
    MATRIX(x, D);
    MATRIX(keys, D);
    MATRIX(room, ENCODER_HIDDEN > D ? ENCODER_HIDDEN : D);
    int start = blockIdx.x * WIDTH;
    for (int at = threadIdx.x; at < ENCODER_HIDDEN * WIDTH; at += TEAM) {
        int unit = at / WIDTH, column = at % WIDTH;
        const float *weight = packed + W_ENCODER_GATE_UP + unit, *bias = packed + W_ENCODER_GATE_UP_BIAS + unit;
        float value = ell[start + column], g = weight[0] * value + bias[0];
        room[unit * SPREAD + column] = g * sigmoid(g) * (weight[ENCODER_HIDDEN] * value + bias[ENCODER_HIDDEN]);
    }
    __syncthreads();
    multiply<D>(packed + W_ENCODER_DOWN, ENCODER_HIDDEN, room, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            float y = sums[r] + packed[W_ENCODER_DOWN_BIAS + output + r];
            x[(output + r) * SPREAD + column] = y;
            out[(size_t)(output + r) * columns + start + column] = y;
        }
    });
    __syncthreads();
#if BLOCKS > 0
    gather_context(packed + W_BLOCKS, x, count + start, keys, room, partial);
#else
    gather_mean(x, count + start, partial);
#endif
}

/// One block from its input `input` and context, and each block of threads' share of the next one's context or, after the last,
/// of the features' sum. Grid: columns / WIDTH.
extern "C" __global__ void __launch_bounds__(TEAM, 5) finish_block(
    const float *__restrict__ packed, int index, const float *__restrict__ input, const float *__restrict__ contexts,
    const float *__restrict__ count, int columns, int stride, float *__restrict__ out, float *__restrict__ partial
) {
    MATRIX(x, D);
    MATRIX(y, D);
    MATRIX(keys, D);
    MATRIX(room, ROOM);
    int start = blockIdx.x * WIDTH, row = start / stride;
    const float *block = packed + W_BLOCKS + index * BLOCK_SIZE;
    float mean[PER_LANE], deviation[PER_LANE];
    for_features([&](int j, int column) {
        x[j * SPREAD + column] = input[(size_t)j * columns + start + column];
    });
    __syncthreads();
    attend(block, x, contexts + row * CONTEXT, y, keys, nullptr);
    multiply<D>(block + B_OUT, D, keys, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            int at = (output + r) * SPREAD + column;
            y[at] = x[at] + (sums[r] + block[B_OUT_BIAS + output + r]);
        }
    });
    __syncthreads();
    moments(y, mean, deviation);
    for_features([&](int j, int column) {
        float normal = (y[j * SPREAD + column] - mean[column / 32]) * deviation[column / 32];
        x[j * SPREAD + column] = normal * block[B_NORM1 + j] + block[B_NORM1 + D + j];
    });
    __syncthreads();
    // Gates and ups take turns.
    multiply<2 * FFN_HIDDEN>(block + B_GATE_UP, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < 2 * FFN_HIDDEN; r += 2) {
            float g = sums[r] + block[B_GATE_UP_BIAS + output + r], u = sums[r + 1] + block[B_GATE_UP_BIAS + output + r + 1];
            room[(output + r) / 2 * SPREAD + column] = g * sigmoid(g) * u;
        }
    });
    __syncthreads();
    multiply<D>(block + B_DOWN, FFN_HIDDEN, room, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            int at = (output + r) * SPREAD + column;
            y[at] = x[at] + (sums[r] + block[B_DOWN_BIAS + output + r]);
        }
    });
    __syncthreads();
    moments(y, mean, deviation);
    for_features([&](int j, int column) {
        float normal = (y[j * SPREAD + column] - mean[column / 32]) * deviation[column / 32];
        float value = normal * block[B_NORM2 + j] + block[B_NORM2 + D + j];
        x[j * SPREAD + column] = value;
        out[(size_t)j * columns + start + column] = value;
    });
    __syncthreads();
    if (index + 1 < BLOCKS) {
        gather_context(block + BLOCK_SIZE, x, count + start, keys, room, partial);
    } else {
        gather_mean(x, count + start, partial);
    }
}

/// One column through a SwiGLU of the row's mean; every thread of the block takes part. Leaves gate and up values
/// `[2·TRUNCATION_HIDDEN]` in `pre`.
__device__ inline void row_swiglu(
    const float *params, int gate_up, int bias, int down, int down_bias, const float *mean, int outputs, float *pre,
    float *out
) {
    for (int unit = threadIdx.x; unit < 2 * TRUNCATION_HIDDEN; unit += blockDim.x) {
        float sum = params[bias + unit];
        for (int j = 0; j < D; j++) {
            sum += params[gate_up + unit * D + j] * mean[j];
        }
        pre[unit] = sum;
    }
    __syncthreads();
    if ((int)threadIdx.x < outputs) {
        float sum = params[down_bias + threadIdx.x];
        for (int unit = 0; unit < TRUNCATION_HIDDEN; unit++) {
            float g = pre[unit];
            sum += params[down + threadIdx.x * TRUNCATION_HIDDEN + unit] * (g * sigmoid(g) * pre[TRUNCATION_HIDDEN + unit]);
        }
        out[threadIdx.x] = sum;
    }
    __syncthreads();
}

/// The mean over the vocabulary `[D][rows]` and what follows from it alone. Grid: rows.
extern "C" __global__ void row_mean_head(
    const float *__restrict__ params, const float *__restrict__ feature_sums, const float *__restrict__ total, int rows,
    float *__restrict__ means, RowState *__restrict__ row_state, float *__restrict__ context_bias
) {
    __shared__ float mean[D], pre[2 * TRUNCATION_HIDDEN], raw[3];
    int row = blockIdx.x;
    for (int j = threadIdx.x; j < D; j += blockDim.x) {
        mean[j] = feature_sums[row * D + j] / total[row];
        means[j * rows + row] = mean[j];
    }
    if (threadIdx.x == 0) {
        // softplus(1), a quirk of the reference.
        raw[2] = 1.0f;
    }
    __syncthreads();
    for (int unit = threadIdx.x; unit < 2 * HIDDEN; unit += blockDim.x) {
        context_bias[row * 2 * HIDDEN + unit] = context_bias_of(params, mean, unit);
    }
    row_swiglu(params, P_TRUNCATION, P_TRUNCATION_BIAS, P_TRUNCATION_DOWN, P_TRUNCATION_DOWN_BIAS, mean, 2, pre, raw);
#if SCALED
    row_swiglu(params, P_SCALING, P_SCALING_BIAS, P_SCALING_DOWN, P_SCALING_DOWN_BIAS, mean, 1, pre, raw + 2);
#endif
    if (threadIdx.x == 0) {
        row_state[row] = RowState{softplus(raw[0]), softplus(raw[1]), softplus(raw[2]), raw[0], raw[1], raw[2]};
    }
}

/// Backward of [`row_swiglu`] for `outputs` gradients `draw`: writes what the parameter gradients need, feature-major over
/// rows, and adds to `dmean`.
__device__ inline void row_swiglu_backward(
    const float *params, int gate_up, int bias, int down, const float *mean, const float *draw, int outputs, int row,
    int rows, float *pre, float *dpre_out, float *hidden_out, float *draw_out, float *dmean
) {
    for (int unit = threadIdx.x; unit < 2 * TRUNCATION_HIDDEN; unit += blockDim.x) {
        float sum = params[bias + unit];
        for (int j = 0; j < D; j++) {
            sum += params[gate_up + unit * D + j] * mean[j];
        }
        pre[unit] = sum;
    }
    __syncthreads();
    for (int unit = threadIdx.x; unit < TRUNCATION_HIDDEN; unit += blockDim.x) {
        float g = pre[unit], u = pre[TRUNCATION_HIDDEN + unit], dh = 0.0f, dg, du;
        for (int out = 0; out < outputs; out++) {
            dh += params[down + out * TRUNCATION_HIDDEN + unit] * draw[out];
        }
        hidden_out[unit * rows + row] = g * sigmoid(g) * u;
        swiglu_backward(g, u, dh, dg, du);
        pre[unit] = dg;
        pre[TRUNCATION_HIDDEN + unit] = du;
        dpre_out[unit * rows + row] = dg;
        dpre_out[(TRUNCATION_HIDDEN + unit) * rows + row] = du;
    }
    if ((int)threadIdx.x < outputs) {
        draw_out[threadIdx.x * rows + row] = draw[threadIdx.x];
    }
    __syncthreads();
    for (int j = threadIdx.x; j < D; j += blockDim.x) {
        for (int unit = 0; unit < 2 * TRUNCATION_HIDDEN; unit++) {
            dmean[j] += params[gate_up + unit * D + j] * pre[unit];
        }
    }
    __syncthreads();
}

/// Gradients of what depends on the row alone, and d mean / candidates `[rows][D]`: what each token's last features receive.
/// Grid: rows.
extern "C" __global__ void row_mean_head_backward(
    const float *__restrict__ params, const RowState *__restrict__ row_state, const float *__restrict__ row_sums,
    const float *__restrict__ means, const float *__restrict__ total, int rows, float *__restrict__ dpre,
    float *__restrict__ truncation_dpre, float *__restrict__ truncation_hidden, float *__restrict__ truncation_draw,
    float *__restrict__ scaling_dpre, float *__restrict__ scaling_hidden, float *__restrict__ scaling_draw,
    float *__restrict__ mean_share
) {
    __shared__ float mean[D], dmean[D], pre[2 * TRUNCATION_HIDDEN], draw[3];
    int row = blockIdx.x;
    const float *sums = row_sums + row * ROW_SUMS;
    for (int j = threadIdx.x; j < D; j += blockDim.x) {
        mean[j] = means[j * rows + row];
        float sum = 0.0f;
        for (int unit = 0; unit < 2 * HIDDEN; unit++) {
            sum += params[P_HEAD_GATE_UP + unit * (D + C) + D + j] * sums[3 + unit];
        }
        dmean[j] = sum;
    }
    for (int unit = threadIdx.x; unit < 2 * HIDDEN; unit += blockDim.x) {
        dpre[unit * rows + row] = sums[3 + unit];
    }
    if (threadIdx.x == 0) {
        RowState state = row_state[row];
        draw[0] = sums[0] * sigmoid(state.raw_scale);
        draw[1] = sums[1] * sigmoid(state.raw_threshold);
        draw[2] = sums[2] * sigmoid(state.raw_factor);
    }
    __syncthreads();
    row_swiglu_backward(
        params, P_TRUNCATION, P_TRUNCATION_BIAS, P_TRUNCATION_DOWN, mean, draw, 2, row, rows, pre, truncation_dpre,
        truncation_hidden, truncation_draw, dmean
    );
#if SCALED
    row_swiglu_backward(
        params, P_SCALING, P_SCALING_BIAS, P_SCALING_DOWN, mean, draw + 2, 1, row, rows, pre, scaling_dpre,
        scaling_hidden, scaling_draw, dmean
    );
#endif
    for (int j = threadIdx.x; j < D; j += blockDim.x) {
        mean_share[row * D + j] = dmean[j] / total[row];
    }
}

/// Recomputes a block from its input and takes d output back to φ(q) and to the residual input; what the parameter gradients
/// need goes to feature-major matrices, each block of threads' share of d context to `partial`. `mean_share` (null but for the
/// last block) is added to d output first. Grid: columns / WIDTH.
extern "C" __global__ void __launch_bounds__(TEAM, 5) finish_block_backward(
    const float *__restrict__ packed, int index, const float *__restrict__ input, const float *__restrict__ contexts,
    const float *__restrict__ count, const float *__restrict__ mean_share, int columns, int stride,
    float *__restrict__ gradient, float *__restrict__ normal2, float *__restrict__ ddown, float *__restrict__ hidden,
    float *__restrict__ dgate_up, float *__restrict__ middle, float *__restrict__ dmiddle,
    float *__restrict__ normal1, float *__restrict__ dattention, float *__restrict__ attended_out,
    float *__restrict__ dqkv, float *__restrict__ partial
) {
    MATRIX(x, D);
    MATRIX(y, D);
    MATRIX(queries, D);
    MATRIX(attended, D);
    MATRIX(room, ROOM);
    MATRIX(inverse, HEADS);
    int start = blockIdx.x * WIDTH, row = start / stride;
    const float *block = packed + W_BLOCKS + index * BLOCK_SIZE;
    const float *context = contexts + row * CONTEXT;
    float mean[PER_LANE], deviation1[PER_LANE], deviation2[PER_LANE];
    auto global = [&](int j, int column) { return (size_t)j * columns + start + column; };
    for_features([&](int j, int column) { x[j * SPREAD + column] = input[global(j, column)]; });
    __syncthreads();
    attend(block, x, context, queries, attended, inverse);
    for_features([&](int j, int column) { attended_out[global(j, column)] = attended[j * SPREAD + column]; });
    multiply<D>(block + B_OUT, D, attended, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            int at = (output + r) * SPREAD + column;
            y[at] = x[at] + (sums[r] + block[B_OUT_BIAS + output + r]);
        }
    });
    __syncthreads();
    moments(y, mean, deviation1);
    for_features([&](int j, int column) {
        float normal = (y[j * SPREAD + column] - mean[column / 32]) * deviation1[column / 32];
        float value = normal * block[B_NORM1 + j] + block[B_NORM1 + D + j];
        normal1[global(j, column)] = normal;
        middle[global(j, column)] = value;
        x[j * SPREAD + column] = value;
    });
    __syncthreads();
    multiply<2 * FFN_HIDDEN>(block + B_GATE_UP, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < 2 * FFN_HIDDEN; r += 2) {
            int unit = (output + r) / 2;
            float g = sums[r] + block[B_GATE_UP_BIAS + output + r], u = sums[r + 1] + block[B_GATE_UP_BIAS + output + r + 1];
            float h = g * sigmoid(g) * u;
            dgate_up[global(unit, column)] = g;
            dgate_up[global(FFN_HIDDEN + unit, column)] = u;
            hidden[global(unit, column)] = h;
            room[unit * SPREAD + column] = h;
        }
    });
    __syncthreads();
    multiply<D>(block + B_DOWN, FFN_HIDDEN, room, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            int at = (output + r) * SPREAD + column;
            y[at] = x[at] + (sums[r] + block[B_DOWN_BIAS + output + r]);
        }
    });
    __syncthreads();
    moments(y, mean, deviation2);
    __syncthreads();
    for_features([&](int j, int column) {
        float normal = (y[j * SPREAD + column] - mean[column / 32]) * deviation2[column / 32];
        y[j * SPREAD + column] = normal;
        normal2[global(j, column)] = normal;
        float slope = gradient[global(j, column)];
        if (mean_share) {
            slope += count[start + column] * mean_share[row * D + j];
            gradient[global(j, column)] = slope;
        }
        x[j * SPREAD + column] = slope * block[B_NORM2 + j];
    });
    // `x` becomes d(input of the second norm), which the feed-forward's output and the residual share.
    norm_backward(y, deviation2, x);
    for_features([&](int j, int column) { ddown[global(j, column)] = x[j * SPREAD + column]; });
    multiply<FFN_HIDDEN>(block + B_DOWN_BACK, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < FFN_HIDDEN; r++) {
            size_t gate_at = global(output + r, column), up_at = global(FFN_HIDDEN + output + r, column);
            float dg, du;
            swiglu_backward(dgate_up[gate_at], dgate_up[up_at], sums[r], dg, du);
            dgate_up[gate_at] = dg;
            dgate_up[up_at] = du;
            room[(output + r) * SPREAD + column] = dg;
        }
    });
    __syncthreads();
    multiply<D>(block + B_GATE_BACK, FFN_HIDDEN, room, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            int at = (output + r) * SPREAD + column;
            y[at] = x[at] + sums[r];
        }
    });
    __syncthreads();
    for (int at = threadIdx.x; at < FFN_HIDDEN * WIDTH; at += TEAM) {
        room[at / WIDTH * SPREAD + at % WIDTH] = dgate_up[global(FFN_HIDDEN + at / WIDTH, at % WIDTH)];
    }
    __syncthreads();
    multiply<D>(block + B_UP_BACK, FFN_HIDDEN, room, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            int at = (output + r) * SPREAD + column;
            float slope = y[at] + sums[r];
            dmiddle[global(output + r, column)] = slope;
            x[at] = slope * block[B_NORM1 + output + r];
        }
    });
    for_features([&](int j, int column) { y[j * SPREAD + column] = normal1[global(j, column)]; });
    norm_backward(y, deviation1, x);
    for_features([&](int j, int column) { dattention[global(j, column)] = x[j * SPREAD + column]; });
    // Through o_proj and the division: `y` becomes d numerators, `room` d denominator of each head.
    multiply<D>(block + B_OUT_BACK, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            int j = output + r;
            y[j * SPREAD + column] = sums[r] * inverse[j / HEAD_DIM * SPREAD + column];
        }
    });
    __syncthreads();
    for (int at = threadIdx.x; at < HEADS * WIDTH; at += TEAM) {
        int head = at / WIDTH, column = at % WIDTH;
        float slope = 0.0f;
        for (int j = head * HEAD_DIM; j < (head + 1) * HEAD_DIM; j++) {
            slope -= y[j * SPREAD + column] * attended[j * SPREAD + column];
        }
        room[head * SPREAD + column] = slope;
    }
    __syncthreads();
    for_features([&](int i, int column) {
        int first = i / HEAD_DIM * HEAD_DIM;
        float dq = context[D * HEAD_DIM + i] * room[i / HEAD_DIM * SPREAD + column];
#pragma unroll
        for (int j = 0; j < HEAD_DIM; j++) {
            dq += context[i * HEAD_DIM + j] * y[(first + j) * SPREAD + column];
        }
        dqkv[global(i, column)] = dq * fminf(queries[i * SPREAD + column], 1.0f);
    });
    sum_pairs(queries, y, room, partial + (size_t)blockIdx.x * CONTEXT);
}

/// From d context to d keys and d values, and on to the block's input. Grid: columns / WIDTH.
extern "C" __global__ void __launch_bounds__(TEAM, 5) gather_context_backward(
    const float *__restrict__ packed, int index, const float *__restrict__ input, const float *__restrict__ dcontexts,
    const float *__restrict__ count, const float *__restrict__ dattention, int columns, int stride,
    float *__restrict__ dqkv, float *__restrict__ dx
) {
    MATRIX(x, D);
    MATRIX(keys, D);
    MATRIX(values, D);
    MATRIX(sum, D);
    int start = blockIdx.x * WIDTH, row = start / stride;
    const float *block = packed + W_BLOCKS + index * BLOCK_SIZE;
    const float *dcontext = dcontexts + row * CONTEXT;
    auto global = [&](int j, int column) { return (size_t)j * columns + start + column; };
    for_features([&](int j, int column) { x[j * SPREAD + column] = input[global(j, column)]; });
    __syncthreads();
    multiply<D>(block + B_KEY, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            keys[(output + r) * SPREAD + column] = feature_map(sums[r] + block[B_QKV_BIAS + D + output + r]);
        }
    });
    multiply<D>(block + B_VALUE, D, x, [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            values[(output + r) * SPREAD + column] = sums[r] + block[B_QKV_BIAS + 2 * D + output + r];
        }
    });
    __syncthreads();
    // d keys to memory and, as input of the next product, to `x`; d values to memory.
    for_features([&](int i, int column) {
        int first = i / HEAD_DIM * HEAD_DIM;
        float times = count[start + column], dk = dcontext[D * HEAD_DIM + i], dv = 0.0f;
#pragma unroll
        for (int j = 0; j < HEAD_DIM; j++) {
            dk += dcontext[i * HEAD_DIM + j] * values[(first + j) * SPREAD + column];
            dv += dcontext[(first + j) * HEAD_DIM + i - first] * keys[(first + j) * SPREAD + column];
        }
        dk *= times * fminf(keys[i * SPREAD + column], 1.0f);
        dv *= times;
        dqkv[global(D + i, column)] = dk;
        dqkv[global(2 * D + i, column)] = dv;
        x[i * SPREAD + column] = dk;
        sum[i * SPREAD + column] = dattention[global(i, column)];
    });
    __syncthreads();
    auto add = [&](int output, int column, const float *sums) {
        for (int r = 0; r < 4 && output + r < D; r++) {
            sum[(output + r) * SPREAD + column] += sums[r];
        }
    };
    for_features([&](int j, int column) {
        keys[j * SPREAD + column] = dqkv[global(j, column)];
        values[j * SPREAD + column] = dqkv[global(2 * D + j, column)];
    });
    __syncthreads();
    multiply<D>(block + B_QUERY_BACK, D, keys, add);
    multiply<D>(block + B_KEY_BACK, D, x, add);
    multiply<D>(block + B_VALUE_BACK, D, values, add);
    for_features([&](int j, int column) { dx[global(j, column)] = sum[j * SPREAD + column]; });
}

/// d gate and d up `[2·ENCODER_HIDDEN]` and the hidden values of the encoder. `mean_share` as above, for networks without
/// blocks. Grid: columns / WIDTH.
extern "C" __global__ void __launch_bounds__(TEAM) encode_backward(
    const float *__restrict__ packed, const float *__restrict__ ell, const float *__restrict__ count,
    const float *__restrict__ mean_share, int columns, int stride, float *__restrict__ gradient,
    float *__restrict__ dgate_up, float *__restrict__ hidden
) {
    MATRIX(x, D);
    int start = blockIdx.x * WIDTH, row = start / stride;
    auto global = [&](int j, int column) { return (size_t)j * columns + start + column; };
    for_features([&](int j, int column) {
        float slope = gradient[global(j, column)];
        if (mean_share) {
            slope += count[start + column] * mean_share[row * D + j];
            gradient[global(j, column)] = slope;
        }
        x[j * SPREAD + column] = slope;
    });
    __syncthreads();
    multiply<ENCODER_HIDDEN>(packed + W_ENCODER_DOWN_BACK, D, x, [&](int output, int column, const float *sums) {
        float value = ell[start + column];
        for (int r = 0; r < 4 && output + r < ENCODER_HIDDEN; r++) {
            int unit = output + r;
            const float *weight = packed + W_ENCODER_GATE_UP + unit, *bias = packed + W_ENCODER_GATE_UP_BIAS + unit;
            float g = weight[0] * value + bias[0];
            float u = weight[ENCODER_HIDDEN] * value + bias[ENCODER_HIDDEN], dg, du;
            hidden[global(unit, column)] = g * sigmoid(g) * u;
            swiglu_backward(g, u, sums[r], dg, du);
            dgate_up[global(unit, column)] = dg;
            dgate_up[global(ENCODER_HIDDEN + unit, column)] = du;
        }
    });
}

#endif
