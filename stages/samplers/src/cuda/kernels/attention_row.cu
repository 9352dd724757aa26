// The parts of `SamplingNetwork` that a row has once: what follows from the mean of its features.

#if NETWORK == 2

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

#endif
