// The two networks whose features of a column depend on its log-probability alone.

#if NETWORK == 0
/// What depends on the row: only parameters. Grid: rows.
extern "C" __global__ void row_head(
    const float *__restrict__ params, const float *__restrict__ context, int rows, RowState *__restrict__ row_state,
    float *__restrict__ context_bias
) {
    int row = blockIdx.x;
    for (int unit = threadIdx.x; unit < 2 * HIDDEN; unit += blockDim.x) {
        context_bias[row * 2 * HIDDEN + unit] = context_bias_of(params, context, unit);
    }
    if (threadIdx.x == 0) {
        float scale = params[P_TRUNCATION], threshold = params[P_TRUNCATION + 1];
        row_state[row] = RowState{scale, threshold, 1.0f, scale, threshold, 1.0f};
    }
}

/// d scale and d threshold `[2][rows]`, and the head's d gate and d up summed over the row `[2·HIDDEN][rows]`. Grid: rows.
extern "C" __global__ void row_head_backward(
    const RowState *__restrict__ row_state, const float *__restrict__ row_sums, int rows, float *__restrict__ draw,
    float *__restrict__ dpre
) {
    int row = blockIdx.x;
    const float *sums = row_sums + row * ROW_SUMS;
    if (threadIdx.x < 2) {
        draw[threadIdx.x * rows + row] = sums[threadIdx.x];
    }
    for (int unit = threadIdx.x; unit < 2 * HIDDEN; unit += blockDim.x) {
        dpre[unit * rows + row] = sums[3 + unit];
    }
}
#endif

#if NETWORK == 1
/// Statistics of each row as its context, feature-major `[C][rows]`. Grid: rows, WIDE threads.
extern "C" __global__ void __launch_bounds__(WIDE) row_statistics(
    const float *__restrict__ ell, const float *__restrict__ count, int stride, int rows, float *__restrict__ context
) {
    __shared__ float maxima[WIDE];
    __shared__ double sums[WIDE];
    const int wanted[C] = STATISTICS;
    int row = blockIdx.x;
    float max = -INFINITY;
    double entropy = 0.0;
#pragma unroll 4
    for (int column = threadIdx.x; column < stride; column += WIDE) {
        float times = count[(size_t)row * stride + column], value = ell[(size_t)row * stride + column];
        if (times > 0.0f) {
            max = fmaxf(max, value);
            entropy -= (double)times * expf(value) * value;
        }
    }
    max = block_max(max, maxima);
    entropy = block_sum(entropy, sums);
    if (threadIdx.x == 0) {
        for (int at = 0; at < C; at++) {
            context[at * rows + row] = wanted[at] == 0 ? max : (float)entropy;
        }
    }
}

/// What depends on the row. Grid: rows.
extern "C" __global__ void row_head(
    const float *__restrict__ params, const float *__restrict__ context, int rows, RowState *__restrict__ row_state,
    float *__restrict__ context_bias
) {
    int row = blockIdx.x;
    float values[C];
    for (int at = 0; at < C; at++) {
        values[at] = context[at * rows + row];
    }
    for (int unit = threadIdx.x; unit < 2 * HIDDEN; unit += blockDim.x) {
        context_bias[row * 2 * HIDDEN + unit] = context_bias_of(params, values, unit);
    }
    if (threadIdx.x == 0) {
        float raw[2];
        for (int out = 0; out < 2; out++) {
#if DYNAMIC_TRUNCATION
            raw[out] = params[P_TRUNCATION_BIAS + out];
            for (int at = 0; at < C; at++) {
                raw[out] += params[P_TRUNCATION + out * C + at] * values[at];
            }
#else
            raw[out] = params[P_TRUNCATION + out];
#endif
        }
        row_state[row] = RowState{softplus(raw[0]), softplus(raw[1]), 1.0f, raw[0], raw[1], 1.0f};
    }
}

/// As for the local network, through the softplus.
extern "C" __global__ void row_head_backward(
    const RowState *__restrict__ row_state, const float *__restrict__ row_sums, int rows, float *__restrict__ draw,
    float *__restrict__ dpre
) {
    int row = blockIdx.x;
    const float *sums = row_sums + row * ROW_SUMS;
    if (threadIdx.x == 0) {
        draw[row] = sums[0] * sigmoid(row_state[row].raw_scale);
        draw[rows + row] = sums[1] * sigmoid(row_state[row].raw_threshold);
    }
    for (int unit = threadIdx.x; unit < 2 * HIDDEN; unit += blockDim.x) {
        dpre[unit * rows + row] = sums[3 + unit];
    }
}

/// silu(w·ℓ + b). Grid: columns / THREADS.
extern "C" __global__ void local_features(
    const float *__restrict__ params, const float *__restrict__ ell, int columns, float *__restrict__ features
) {
    int column = blockIdx.x * THREADS + threadIdx.x;
    float value = ell[column];
    for (int j = 0; j < D; j++) {
        float raw = params[P_LOCAL + j] * value + params[P_LOCAL_BIAS + j];
        features[(size_t)j * columns + column] = raw * sigmoid(raw);
    }
}

/// d features becomes d(w·ℓ + b), in place. Grid: columns / THREADS.
extern "C" __global__ void local_features_backward(
    const float *__restrict__ params, const float *__restrict__ ell, int columns, float *__restrict__ gradient
) {
    int column = blockIdx.x * THREADS + threadIdx.x;
    float value = ell[column];
    for (int j = 0; j < D; j++) {
        float raw = params[P_LOCAL + j] * value + params[P_LOCAL_BIAS + j], s = sigmoid(raw);
        gradient[(size_t)j * columns + column] *= s * (1.0f + raw * (1.0f - s));
    }
}
#endif
