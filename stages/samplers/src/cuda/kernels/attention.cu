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

#endif
