// What all networks end with: `modified = factor·(ℓ + SwiGLU([x, context]))` and the soft truncation
// `out = modified + ln σ(modified·s + t)`. What depends on the row alone is computed once a row: `row_state` holds
// s, t, factor and, raw, what softplus made them of; `context_bias` the context's share of gate and up values, with the bias.

#define STATE 6
/// Sums over a row's columns that its backward pass needs: d s, d t, d factor, then d gate and d up of the head.
#define ROW_SUMS (3 + 2 * HIDDEN)

struct RowState {
    float scale, threshold, factor, raw_scale, raw_threshold, raw_factor;
};

/// The head's context share of gate and up value `unit`.
__device__ inline float context_bias_of(const float *params, const float *context, int unit) {
    float sum = params[P_HEAD_GATE_UP_BIAS + unit];
    const float *weight = params + P_HEAD_GATE_UP + unit * (D + C) + D;
    for (int j = 0; j < C; j++) {
        sum += weight[j] * context[j];
    }
    return sum;
}

/// ℓ + SwiGLU([x, context]).
__device__ inline float shifted_of(const float *packed, const float *x, const float *context_bias, float ell) {
    float sum = ell + packed[W_HEAD_DOWN_BIAS];
    for (int unit = 0; unit < HIDDEN; unit++) {
        float g = context_bias[unit] + dot_row(packed + W_HEAD_GATE_UP + unit * DP, x);
        float u = context_bias[HIDDEN + unit] + dot_row(packed + W_HEAD_GATE_UP + (HIDDEN + unit) * DP, x);
        sum += packed[W_HEAD_DOWN + unit] * (g * sigmoid(g) * u);
    }
    return sum;
}

/// New logits of all columns. Grid: columns / THREADS.
extern "C" __global__ void __launch_bounds__(THREADS) head(
    const float *__restrict__ packed, const float *__restrict__ features, const float *__restrict__ ell,
    const RowState *__restrict__ row_state, const float *__restrict__ context_bias, int columns, int stride,
    float *__restrict__ predicted
) {
    int column = blockIdx.x * THREADS + threadIdx.x, row = column / stride;
    float x[DP];
    load_column(features, columns, column, x);
    RowState state = row_state[row];
    float modified = state.factor * shifted_of(packed, x, context_bias + row * 2 * HIDDEN, ell[column]);
    predicted[column] = modified - softplus(-(modified * state.scale + state.threshold));
}

/// From d out to d features, d gate and d up `[2·HIDDEN]`, the hidden values `[HIDDEN]`, d shifted, and each block's share of
/// the row's sums. Grid: columns / THREADS.
extern "C" __global__ void __launch_bounds__(THREADS) head_backward(
    const float *__restrict__ packed, const float *__restrict__ features, const float *__restrict__ ell,
    const RowState *__restrict__ row_state, const float *__restrict__ context_bias,
    const float *__restrict__ gradient, int columns, int stride, float *__restrict__ dfeatures,
    float *__restrict__ dpre, float *__restrict__ hidden, float *__restrict__ dshifted, float *__restrict__ partial
) {
    __shared__ float sums[ROW_SUMS * PITCH];
    int thread = threadIdx.x, column = blockIdx.x * THREADS + thread, row = column / stride;
    float x[DP], dx[DP];
    load_column(features, columns, column, x);
#pragma unroll
    for (int j = 0; j < DP; j++) {
        dx[j] = 0.0f;
    }
    RowState state = row_state[row];
    const float *bias = context_bias + row * 2 * HIDDEN;
    float shifted = shifted_of(packed, x, bias, ell[column]);
    float modified = state.factor * shifted;
    float slope = sigmoid(-(modified * state.scale + state.threshold));
    float dout = gradient[column], dmodified = dout * (1.0f + state.scale * slope);
    float dy = dmodified * state.factor;
    sums[thread] = dout * slope * modified;
    sums[PITCH + thread] = dout * slope;
    sums[2 * PITCH + thread] = dmodified * shifted;
    dshifted[column] = dy;
    for (int unit = 0; unit < HIDDEN; unit++) {
        const float *gate_row = packed + W_HEAD_GATE_UP + unit * DP, *up_row = gate_row + HIDDEN * DP;
        float g = bias[unit] + dot_row(gate_row, x), u = bias[HIDDEN + unit] + dot_row(up_row, x), dg, du;
        hidden[(size_t)unit * columns + column] = g * sigmoid(g) * u;
        swiglu_backward(g, u, packed[W_HEAD_DOWN + unit] * dy, dg, du);
        axpy_row(dg, gate_row, dx);
        axpy_row(du, up_row, dx);
        dpre[(size_t)unit * columns + column] = dg;
        dpre[(size_t)(HIDDEN + unit) * columns + column] = du;
        sums[(3 + unit) * PITCH + thread] = dg;
        sums[(3 + HIDDEN + unit) * PITCH + thread] = du;
    }
    store_column(dfeatures, columns, column, dx);
    __syncthreads();
    for (int at = thread; at < ROW_SUMS; at += THREADS) {
        float sum = 0.0f;
        for (int other = 0; other < THREADS; other++) {
            sum += sums[at * PITCH + other];
        }
        partial[(size_t)blockIdx.x * ROW_SUMS + at] = sum;
    }
}
