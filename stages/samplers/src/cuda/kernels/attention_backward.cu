// Backward pass of `SamplingNetwork` over the columns: see attention.cu.

#if NETWORK == 2

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
