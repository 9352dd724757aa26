// `SamplingNetwork`: linear attention over the columns. A block of the network is finished by one kernel, which also sums the
// next block's context Σ φ(k)·vᵀ and Σ φ(k), multiplicities as weights; the backward pass recomputes a block from its input.

#if NETWORK == 2

/// Values of a context: per head HEAD_DIM × HEAD_DIM of Σ φ(k)·vᵀ, then Σ φ(k).
#define CONTEXT (D * HEAD_DIM + D)
#define ATTENTION_EPS 1e-6f
#define NORM_EPS 1e-5f

/// Sums over the block's columns of `a·bᵀ` within each head, and of `a·e` with the head's `e` (1 where it is null).
__device__ inline void sum_pairs(const float *a, const float *b, const float *e, float *__restrict__ out) {
    __syncthreads();
    for (int at = threadIdx.x; at < CONTEXT; at += THREADS) {
        int i = at < D * HEAD_DIM ? at / HEAD_DIM : at - D * HEAD_DIM, head = i / HEAD_DIM;
        float sum = 0.0f;
        if (at < D * HEAD_DIM) {
            int j = head * HEAD_DIM + at % HEAD_DIM;
            for (int t = 0; t < THREADS; t++) {
                sum += a[i * PITCH + t] * b[j * PITCH + t];
            }
        } else {
            for (int t = 0; t < THREADS; t++) {
                sum += a[i * PITCH + t] * (e ? e[head * PITCH + t] : 1.0f);
            }
        }
        out[at] = sum;
    }
    __syncthreads();
}

/// Weighted φ(k) and v of a column into shared memory, and the block's share of the context.
__device__ inline void gather_context(
    const float *block, const float *x, float times, float *keys, float *values, float *__restrict__ partial
) {
    int thread = threadIdx.x;
    for (int j = 0; j < D; j++) {
        float k = block[B_QKV_BIAS + D + j] + dot_row(block + B_QKV + (D + j) * DP, x);
        float v = block[B_QKV_BIAS + 2 * D + j] + dot_row(block + B_QKV + (2 * D + j) * DP, x);
        keys[j * PITCH + thread] = times * feature_map(k);
        values[j * PITCH + thread] = v;
    }
    sum_pairs(keys, values, nullptr, partial + (size_t)blockIdx.x * CONTEXT);
}

/// φ(q) into `queries` and the attention's result into `attended` (which may be the same), 1/denominator into `inverse`.
__device__ inline void attend(
    const float *block, const float *x, const float *__restrict__ context, float *queries, float *attended,
    float *inverse
) {
    int thread = threadIdx.x;
    for (int j = 0; j < D; j++) {
        float q = block[B_QKV_BIAS + j] + dot_row(block + B_QKV + j * DP, x);
        queries[j * PITCH + thread] = feature_map(q);
    }
    for (int head = 0; head < HEADS; head++) {
        float numerator[HEAD_DIM], denominator = ATTENTION_EPS;
#pragma unroll
        for (int j = 0; j < HEAD_DIM; j++) {
            numerator[j] = 0.0f;
        }
        for (int i = head * HEAD_DIM; i < (head + 1) * HEAD_DIM; i++) {
            float q = queries[i * PITCH + thread];
            denominator += q * context[D * HEAD_DIM + i];
#pragma unroll
            for (int j = 0; j < HEAD_DIM; j++) {
                numerator[j] += q * context[i * HEAD_DIM + j];
            }
        }
        inverse[head] = 1.0f / denominator;
#pragma unroll
        for (int j = 0; j < HEAD_DIM; j++) {
            attended[(head * HEAD_DIM + j) * PITCH + thread] = numerator[j] * inverse[head];
        }
    }
}

/// x + attention, before the first norm.
__device__ inline void project(const float *block, const float *attended, const float *x, float *y) {
#pragma unroll
    for (int j = 0; j < DP; j++) {
        y[j] = j < D ? x[j] + block[B_OUT_BIAS + j] : 0.0f;
    }
    for (int i = 0; i < D; i++) {
        axpy_row(attended[i * PITCH + threadIdx.x], block + B_OUT + i * DP, y);
    }
}

/// x becomes (x − mean) / √(var + eps); gives 1/√(var + eps).
__device__ inline float normalise(float *x) {
    float mean = 0.0f, variance = 0.0f;
#pragma unroll
    for (int j = 0; j < D; j++) {
        mean += x[j];
    }
    mean /= D;
#pragma unroll
    for (int j = 0; j < D; j++) {
        x[j] -= mean;
        variance += x[j] * x[j];
    }
    float deviation = 1.0f / sqrtf(variance / D + NORM_EPS);
#pragma unroll
    for (int j = 0; j < D; j++) {
        x[j] *= deviation;
    }
    return deviation;
}

/// `gradient` becomes that of what [`normalise`] took: r·(g − mean g − x̂·mean(g·x̂)) with g = gradient·weight.
__device__ inline void normalise_backward(const float *normal, float deviation, const float *weight, float *gradient) {
    float plain = 0.0f, weighted = 0.0f;
#pragma unroll
    for (int j = 0; j < D; j++) {
        gradient[j] *= weight[j];
        plain += gradient[j];
        weighted += gradient[j] * normal[j];
    }
    plain /= D;
    weighted /= D;
#pragma unroll
    for (int j = 0; j < D; j++) {
        gradient[j] = deviation * (gradient[j] - plain - normal[j] * weighted);
    }
}

__device__ inline void scale_shift(const float *normal, const float *weight, const float *bias, float *y) {
#pragma unroll
    for (int j = 0; j < DP; j++) {
        y[j] = j < D ? normal[j] * weight[j] + bias[j] : 0.0f;
    }
}

/// h⁰ of every column and the first block's context. Grid: columns / THREADS.
extern "C" __global__ void __launch_bounds__(THREADS) encode(
    const float *__restrict__ packed, const float *__restrict__ ell, const float *__restrict__ count, int columns,
    float *__restrict__ x, float *__restrict__ partial
) {
    __shared__ float keys[D * PITCH], values[D * PITCH];
    int column = blockIdx.x * THREADS + threadIdx.x;
    float value = ell[column], y[DP];
#pragma unroll
    for (int j = 0; j < DP; j++) {
        y[j] = j < D ? packed[W_ENCODER_DOWN_BIAS + j] : 0.0f;
    }
    for (int unit = 0; unit < ENCODER_HIDDEN; unit++) {
        const float *weight = packed + W_ENCODER_GATE_UP + unit, *bias = packed + W_ENCODER_GATE_UP_BIAS + unit;
        float g = weight[0] * value + bias[0];
        float u = weight[ENCODER_HIDDEN] * value + bias[ENCODER_HIDDEN];
        axpy_row(g * sigmoid(g) * u, packed + W_ENCODER_DOWN + unit * DP, y);
    }
    store_column(x, columns, column, y);
#if BLOCKS > 0
    gather_context(packed + W_BLOCKS, y, count[column], keys, values, partial);
#else
    for (int j = 0; j < D; j++) {
        keys[j * PITCH + threadIdx.x] = count[column] * y[j];
    }
    __syncthreads();
    for (int j = threadIdx.x; j < D; j += THREADS) {
        float sum = 0.0f;
        for (int t = 0; t < THREADS; t++) {
            sum += keys[j * PITCH + t];
        }
        partial[(size_t)blockIdx.x * D + j] = sum;
    }
#endif
}

/// One block from its input `x` and context, and each block's share of the next one's context or, after the last, of the
/// features' sum. Grid: columns / THREADS.
extern "C" __global__ void __launch_bounds__(THREADS) finish_block(
    const float *__restrict__ packed, int index, const float *__restrict__ x, const float *__restrict__ contexts,
    const float *__restrict__ count, int columns, int stride, float *__restrict__ out, float *__restrict__ partial
) {
    __shared__ float keys[D * PITCH], values[D * PITCH];
    int thread = threadIdx.x, column = blockIdx.x * THREADS + thread, row = column / stride;
    const float *block = packed + W_BLOCKS + index * BLOCK_SIZE;
    float y[DP];
    {
        float input[DP], inverse[HEADS];
        load_column(x, columns, column, input);
        attend(block, input, contexts + row * CONTEXT, keys, keys, inverse);
        project(block, keys, input, y);
    }
    float middle[DP];
    normalise(y);
    scale_shift(y, block + B_NORM1, block + B_NORM1 + D, middle);
#pragma unroll
    for (int j = 0; j < DP; j++) {
        y[j] = j < D ? middle[j] + block[B_DOWN_BIAS + j] : 0.0f;
    }
    for (int unit = 0; unit < FFN_HIDDEN; unit++) {
        float g = block[B_GATE_UP_BIAS + unit] + dot_row(block + B_GATE_UP + unit * DP, middle);
        float u = block[B_GATE_UP_BIAS + FFN_HIDDEN + unit]
            + dot_row(block + B_GATE_UP + (FFN_HIDDEN + unit) * DP, middle);
        axpy_row(g * sigmoid(g) * u, block + B_DOWN + unit * DP, y);
    }
    normalise(y);
    scale_shift(y, block + B_NORM2, block + B_NORM2 + D, middle);
    store_column(out, columns, column, middle);
    __syncthreads();
    if (index + 1 < BLOCKS) {
        gather_context(block + BLOCK_SIZE, middle, count[column], keys, values, partial);
        return;
    }
    for (int j = 0; j < D; j++) {
        keys[j * PITCH + thread] = count[column] * middle[j];
    }
    __syncthreads();
    for (int j = thread; j < D; j += THREADS) {
        float sum = 0.0f;
        for (int t = 0; t < THREADS; t++) {
            sum += keys[j * PITCH + t];
        }
        partial[(size_t)blockIdx.x * D + j] = sum;
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
/// need goes to feature-major matrices, each block's share of d context to `partial`. `mean_share` (null but for the last
/// block) is added to d output first. Grid: columns / THREADS.
extern "C" __global__ void __launch_bounds__(THREADS) finish_block_backward(
    const float *__restrict__ packed, int index, const float *__restrict__ x, const float *__restrict__ contexts,
    const float *__restrict__ count, const float *__restrict__ mean_share, int columns, int stride,
    float *__restrict__ gradient, float *__restrict__ normal2, float *__restrict__ ddown, float *__restrict__ hidden,
    float *__restrict__ dgate_up, float *__restrict__ middle_out, float *__restrict__ dmiddle_out,
    float *__restrict__ normal1, float *__restrict__ dattention, float *__restrict__ attended_out,
    float *__restrict__ dqkv, float *__restrict__ partial
) {
    __shared__ float queries[D * PITCH], attended[D * PITCH], slopes[HEADS * PITCH];
    int thread = threadIdx.x, column = blockIdx.x * THREADS + thread, row = column / stride;
    const float *block = packed + W_BLOCKS + index * BLOCK_SIZE;
    const float *context = contexts + row * CONTEXT;
    float inverse[HEADS], a[DP], b[DP], middle[DP];
    load_column(x, columns, column, b);
    attend(block, b, context, queries, attended, inverse);
    project(block, attended, b, a);
    for (int j = 0; j < D; j++) {
        attended_out[(size_t)j * columns + column] = attended[j * PITCH + thread];
    }
    float deviation1 = normalise(a);
    store_column(normal1, columns, column, a);
    scale_shift(a, block + B_NORM1, block + B_NORM1 + D, middle);
    store_column(middle_out, columns, column, middle);
#pragma unroll
    for (int j = 0; j < DP; j++) {
        b[j] = j < D ? middle[j] + block[B_DOWN_BIAS + j] : 0.0f;
    }
    for (int unit = 0; unit < FFN_HIDDEN; unit++) {
        float g = block[B_GATE_UP_BIAS + unit] + dot_row(block + B_GATE_UP + unit * DP, middle);
        float u = block[B_GATE_UP_BIAS + FFN_HIDDEN + unit]
            + dot_row(block + B_GATE_UP + (FFN_HIDDEN + unit) * DP, middle);
        float h = g * sigmoid(g) * u;
        dgate_up[(size_t)unit * columns + column] = g;
        dgate_up[(size_t)(FFN_HIDDEN + unit) * columns + column] = u;
        hidden[(size_t)unit * columns + column] = h;
        axpy_row(h, block + B_DOWN + unit * DP, b);
    }
    float deviation2 = normalise(b);
    store_column(normal2, columns, column, b);
    // `a` becomes d(input of the second norm).
    load_column(gradient, columns, column, a);
    if (mean_share) {
        float times = count[column];
#pragma unroll
        for (int j = 0; j < D; j++) {
            a[j] += times * mean_share[row * D + j];
        }
        store_column(gradient, columns, column, a);
    }
    normalise_backward(b, deviation2, block + B_NORM2, a);
    store_column(ddown, columns, column, a);
    // `b` becomes d middle.
#pragma unroll
    for (int j = 0; j < DP; j++) {
        b[j] = a[j];
    }
    for (int unit = 0; unit < FFN_HIDDEN; unit++) {
        size_t gate_at = (size_t)unit * columns + column, up_at = (size_t)(FFN_HIDDEN + unit) * columns + column;
        float dg, du;
        swiglu_backward(dgate_up[gate_at], dgate_up[up_at], dot_row(block + B_DOWN + unit * DP, a), dg, du);
        dgate_up[gate_at] = dg;
        dgate_up[up_at] = du;
        axpy_row(dg, block + B_GATE_UP + unit * DP, b);
        axpy_row(du, block + B_GATE_UP + (FFN_HIDDEN + unit) * DP, b);
    }
    store_column(dmiddle_out, columns, column, b);
    load_column(normal1, columns, column, a);
    normalise_backward(a, deviation1, block + B_NORM1, b);
    store_column(dattention, columns, column, b);
    // Through o_proj and the division to numerators (which take the place of `attended`) and denominators.
    for (int head = 0; head < HEADS; head++) {
        float slope = 0.0f;
        for (int j = head * HEAD_DIM; j < (head + 1) * HEAD_DIM; j++) {
            float dnumerator = dot_row(block + B_OUT + j * DP, b) * inverse[head];
            slope -= dnumerator * attended[j * PITCH + thread];
            attended[j * PITCH + thread] = dnumerator;
        }
        slopes[head * PITCH + thread] = slope;
        for (int i = head * HEAD_DIM; i < (head + 1) * HEAD_DIM; i++) {
            float dq = context[D * HEAD_DIM + i] * slope;
            for (int j = 0; j < HEAD_DIM; j++) {
                dq += context[i * HEAD_DIM + j] * attended[(head * HEAD_DIM + j) * PITCH + thread];
            }
            dqkv[(size_t)i * columns + column] = dq * fminf(queries[i * PITCH + thread], 1.0f);
        }
    }
    sum_pairs(queries, attended, slopes, partial + (size_t)blockIdx.x * CONTEXT);
}

/// From d context to d keys and d values, and on to the block's input. Grid: columns / THREADS.
extern "C" __global__ void __launch_bounds__(THREADS) gather_context_backward(
    const float *__restrict__ packed, int index, const float *__restrict__ x, const float *__restrict__ dcontexts,
    const float *__restrict__ count, const float *__restrict__ dattention, int columns, int stride,
    float *__restrict__ dqkv, float *__restrict__ dx
) {
    __shared__ float keys[D * PITCH], values[D * PITCH];
    int thread = threadIdx.x, column = blockIdx.x * THREADS + thread, row = column / stride;
    const float *block = packed + W_BLOCKS + index * BLOCK_SIZE;
    const float *dcontext = dcontexts + row * CONTEXT;
    float times = count[column], a[DP];
    load_column(x, columns, column, a);
    for (int j = 0; j < D; j++) {
        float k = block[B_QKV_BIAS + D + j] + dot_row(block + B_QKV + (D + j) * DP, a);
        keys[j * PITCH + thread] = feature_map(k);
        values[j * PITCH + thread] = block[B_QKV_BIAS + 2 * D + j] + dot_row(block + B_QKV + (2 * D + j) * DP, a);
    }
    load_column(dattention, columns, column, a);
    for (int j = 0; j < D; j++) {
        axpy_row(dqkv[(size_t)j * columns + column], block + B_QKV + j * DP, a);
    }
    for (int i = 0; i < D; i++) {
        int head = i / HEAD_DIM;
        float key = keys[i * PITCH + thread], dk = dcontext[D * HEAD_DIM + i], dv = 0.0f;
        for (int j = 0; j < HEAD_DIM; j++) {
            int other = head * HEAD_DIM + j;
            dk += dcontext[i * HEAD_DIM + j] * values[other * PITCH + thread];
            dv += dcontext[other * HEAD_DIM + i % HEAD_DIM] * keys[other * PITCH + thread];
        }
        dk *= times * fminf(key, 1.0f);
        dv *= times;
        dqkv[(size_t)(D + i) * columns + column] = dk;
        dqkv[(size_t)(2 * D + i) * columns + column] = dv;
        axpy_row(dk, block + B_QKV + (D + i) * DP, a);
        axpy_row(dv, block + B_QKV + (2 * D + i) * DP, a);
    }
    store_column(dx, columns, column, a);
}

/// d gate and d up `[2·ENCODER_HIDDEN]` and the hidden values of the encoder. `mean_share` as above, for networks without
/// blocks. Grid: columns / THREADS.
extern "C" __global__ void __launch_bounds__(THREADS) encode_backward(
    const float *__restrict__ packed, const float *__restrict__ ell, const float *__restrict__ count,
    const float *__restrict__ mean_share, int columns, int stride, float *__restrict__ gradient,
    float *__restrict__ dgate_up, float *__restrict__ hidden
) {
    int column = blockIdx.x * THREADS + threadIdx.x, row = column / stride;
    float value = ell[column], dx[DP];
    load_column(gradient, columns, column, dx);
    if (mean_share) {
        float times = count[column];
#pragma unroll
        for (int j = 0; j < D; j++) {
            dx[j] += times * mean_share[row * D + j];
        }
        store_column(gradient, columns, column, dx);
    }
    for (int unit = 0; unit < ENCODER_HIDDEN; unit++) {
        const float *weight = packed + W_ENCODER_GATE_UP + unit, *bias = packed + W_ENCODER_GATE_UP_BIAS + unit;
        float g = weight[0] * value + bias[0];
        float u = weight[ENCODER_HIDDEN] * value + bias[ENCODER_HIDDEN], dg, du;
        hidden[(size_t)unit * columns + column] = g * sigmoid(g) * u;
        swiglu_backward(g, u, dot_row(packed + W_ENCODER_DOWN + unit * DP, dx), dg, du);
        dgate_up[(size_t)unit * columns + column] = dg;
        dgate_up[(size_t)(ENCODER_HIDDEN + unit) * columns + column] = du;
    }
}

#endif
