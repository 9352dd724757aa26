// From rows of logits to columns and back: equal logits of a row whose values all fit in bf16 share a column, found by counting
// the 65,536 upper halves; any other row has one column a token.

/// What the host reads back of a row before it goes on.
struct RowInfo {
    /// Columns that are in use.
    int columns;
    /// Whether every token has its own column.
    int dense;
    /// First token that is NaN or +inf, or kept by the target although its raw logit is −inf; NONE without.
    int bad_raw, bad_target, bad_kept;
    /// Whether a raw logit, and a target logit, is finite.
    int any_raw, any_target;
    /// Largest finite raw logit, as [`ordered`] gives it.
    unsigned max;
};

/// A number that compares as the float does.
__device__ inline unsigned ordered(float value) {
    unsigned bits = __float_as_uint(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ inline float unordered(unsigned key) {
    return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

/// A token that does not exist.
#define NONE 0x7fffffff

/// Empties the bins and the row's information. Grid: (BINS / 256, rows).
extern "C" __global__ void begin_rows(int *bins, RowInfo *info) {
    int row = blockIdx.y;
    bins[(size_t)row * BINS + blockIdx.x * blockDim.x + threadIdx.x] = 0;
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        info[row] = RowInfo{0, 0, NONE, NONE, NONE, 0, 0, 0};
    }
}

/// Counts upper halves, finds the largest logit and looks for what does not belong. Grid: (⌈vocabulary / 256⌉, rows).
extern "C" __global__ void __launch_bounds__(256) count_bins(
    const float *__restrict__ logits, int vocabulary, int *bins, RowInfo *info
) {
    __shared__ unsigned maxima[8];
    int token = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    float value = token < vocabulary ? logits[(size_t)row * vocabulary + token] : -INFINITY;
    unsigned max = 0;
    if (isnan(value) || value == INFINITY) {
        atomicMin(&info[row].bad_raw, token);
    } else if (value != -INFINITY) {
        unsigned bits = __float_as_uint(value);
        if (bits & 0xffff) {
            info[row].dense = 1;
        }
        info[row].any_raw = 1;
        max = ordered(value);
        atomicAdd(&bins[(size_t)row * BINS + (bits >> 16)], 1);
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        unsigned other = __shfl_xor_sync(0xffffffffu, max, distance);
        max = other > max ? other : max;
    }
    if (threadIdx.x % 32 == 0) {
        maxima[threadIdx.x / 32] = max;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < 8; warp++) {
            max = maxima[warp] > max ? maxima[warp] : max;
        }
        atomicMax(&info[row].max, max);
    }
}

/// Numbers the bins in use and gives each row's log-sum-exp and number of candidates. Grid: rows, WIDE threads.
extern "C" __global__ void __launch_bounds__(WIDE) number_columns(
    const float *__restrict__ logits, int vocabulary, const int *__restrict__ bins, int *__restrict__ numbers,
    RowInfo *info, double *normaliser, float *total
) {
    __shared__ double sums[WIDE];
    __shared__ int used_by[WIDE / 32];
    const unsigned all = 0xffffffffu;
    const int turns = BINS / WIDE;
    int row = blockIdx.x, thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    bins += (size_t)row * BINS;
    numbers += (size_t)row * BINS;
    logits += (size_t)row * vocabulary;
    float max = unordered(info[row].max);
    double sum = 0.0;
    int count = 0;
    if (info[row].dense) {
#pragma unroll 8
        for (int token = thread; token < vocabulary; token += WIDE) {
            float value = logits[token];
            sum += expf(value - max);
            count += value != -INFINITY;
        }
        if (thread == 0) {
            info[row].columns = vocabulary;
        }
    } else {
        // Each warp has `turns` times 32 neighbouring bins; lane i keeps which were in use in turns i and i + 32.
        unsigned low = 0, high = 0;
        int used = 0, first = warp * turns * 32 + lane;
#pragma unroll 8
        for (int turn = 0; turn < turns; turn++) {
            int bin = first + turn * 32, times = bins[bin];
            unsigned mask = __ballot_sync(all, times > 0);
            used += __popc(mask);
            if (lane == turn % 32) {
                (turn < 32 ? low : high) = mask;
            }
            if (times > 0) {
                sum += times * (double)expf(__uint_as_float((unsigned)bin << 16) - max);
                count += times;
            }
        }
        if (lane == 0) {
            used_by[warp] = used;
        }
        __syncthreads();
        int number = 0;
        for (int other = 0; other < warp; other++) {
            number += used_by[other];
        }
        if (thread == WIDE - 1) {
            info[row].columns = number + used;
        }
        for (int turn = 0; turn < turns; turn++) {
            unsigned mask = __shfl_sync(all, turn < 32 ? low : high, turn % 32);
            if (mask >> lane & 1) {
                numbers[first + turn * 32] = number + __popc(mask & ((1u << lane) - 1));
            }
            number += __popc(mask);
        }
    }
    sum = block_sum(sum, sums);
    double candidates = block_sum((double)count, sums);
    if (thread == 0) {
        normaliser[row] = max + log(sum);
        total[row] = candidates;
    }
}

/// Log-probability and multiplicity of every column; both were 0. Grid: (⌈larger of BINS and vocabulary / 256⌉, rows).
extern "C" __global__ void fill_columns(
    const float *__restrict__ logits, int vocabulary, const int *__restrict__ bins, const int *__restrict__ numbers,
    const RowInfo *__restrict__ info, const double *__restrict__ normaliser, int stride, float *__restrict__ ell,
    float *__restrict__ count
) {
    int at = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    float value = -INFINITY;
    int column = at, times = 0;
    if (info[row].dense) {
        if (at < vocabulary) {
            value = logits[(size_t)row * vocabulary + at];
            times = value != -INFINITY;
        }
    } else if (at < BINS) {
        times = bins[(size_t)row * BINS + at];
        value = __uint_as_float((unsigned)at << 16);
        column = numbers[(size_t)row * BINS + at];
    }
    if (times > 0) {
        ell[(size_t)row * stride + column] = (double)value - normaliser[row];
        count[(size_t)row * stride + column] = times;
    }
}

/// The column of a token whose logit is finite.
__device__ inline int column_of(float value, int token, int row, const RowInfo *info, const int *numbers) {
    return info[row].dense ? token : numbers[(size_t)row * BINS + (__float_as_uint(value) >> 16)];
}

/// Rewrites raw logits into new ones; −inf stays. Grid: (⌈vocabulary / 256⌉, rows).
extern "C" __global__ void scatter_columns(
    float *__restrict__ logits, int vocabulary, const int *__restrict__ numbers, const RowInfo *__restrict__ info,
    int stride, const float *__restrict__ predicted
) {
    int token = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (token < vocabulary) {
        float *logit = logits + (size_t)row * vocabulary + token;
        if (*logit != -INFINITY) {
            *logit = predicted[(size_t)row * stride + column_of(*logit, token, row, info, numbers)];
        }
    }
}

/// Largest kept target logit, ln Σ e^(y − max) and Σ t ln t of a row. Grid: rows, WIDE threads.
extern "C" __global__ void __launch_bounds__(WIDE) target_sums(
    const float *__restrict__ raw, const float *__restrict__ target, int vocabulary, RowInfo *info,
    float *__restrict__ target_max, double *__restrict__ target_log_sum, double *__restrict__ negentropy
) {
    __shared__ float maxima[WIDE];
    __shared__ double sums[WIDE];
    int row = blockIdx.x, thread = threadIdx.x;
    raw += (size_t)row * vocabulary;
    target += (size_t)row * vocabulary;
    float max = -INFINITY;
#pragma unroll 4
    for (int token = thread; token < vocabulary; token += WIDE) {
        float value = target[token];
        if (isnan(value) || value == INFINITY) {
            atomicMin(&info[row].bad_target, token);
        } else if (value != -INFINITY) {
            info[row].any_target = 1;
            if (raw[token] == -INFINITY) {
                atomicMin(&info[row].bad_kept, token);
            }
        }
        max = fmaxf(max, value);
    }
    max = block_max(max, maxima);
    double sum = 0.0, weighted = 0.0;
#pragma unroll 4
    for (int token = thread; token < vocabulary; token += WIDE) {
        float value = target[token];
        if (value != -INFINITY) {
            double term = expf(value - max);
            sum += term;
            weighted += term * (value - max);
        }
    }
    sum = block_sum(sum, sums);
    weighted = block_sum(weighted, sums);
    if (thread == 0) {
        target_max[row] = max;
        target_log_sum[row] = log(sum);
        negentropy[row] = weighted / sum - log(sum);
    }
}

/// Target mass of a column as a whole number of 2^−50, so that the order of additions does not matter.
#define MASS_UNIT 1125899906842624.0

/// Target mass and number of removed tokens of every column; both were 0. Grid: (⌈vocabulary / 256⌉, rows).
extern "C" __global__ void target_columns(
    const float *__restrict__ raw, const float *__restrict__ target, int vocabulary, const int *__restrict__ numbers,
    const RowInfo *__restrict__ info, const float *__restrict__ target_max, const double *__restrict__ target_log_sum,
    int stride, unsigned long long *mass, int *removed
) {
    int token = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (token >= vocabulary) {
        return;
    }
    float value = raw[(size_t)row * vocabulary + token], wanted = target[(size_t)row * vocabulary + token];
    if (value == -INFINITY) {
        return;
    }
    size_t column = (size_t)row * stride + column_of(value, token, row, info, numbers);
    if (wanted == -INFINITY) {
        atomicAdd(&removed[column], 1);
    } else {
        double share = exp((double)wanted - target_max[row] - target_log_sum[row]);
        atomicAdd(&mass[column], (unsigned long long)(share * MASS_UNIT + 0.5));
    }
}

/// KL divergence and penalty of a row, and `scale · d(kl + gamma·penalty)/d predicted` of every column. Grid: rows, WIDE threads.
extern "C" __global__ void __launch_bounds__(WIDE) row_loss(
    const float *__restrict__ predicted, const float *__restrict__ count, const unsigned long long *__restrict__ mass,
    const int *__restrict__ removed, const double *__restrict__ negentropy, int stride, float gamma, float scale,
    double *__restrict__ kl, double *__restrict__ penalty, float *__restrict__ gradient
) {
    __shared__ float maxima[WIDE];
    __shared__ double sums[WIDE];
    int row = blockIdx.x, thread = threadIdx.x;
    size_t start = (size_t)row * stride;
    float max = -INFINITY;
#pragma unroll 4
    for (int column = thread; column < stride; column += WIDE) {
        max = fmaxf(max, count[start + column] > 0.0f ? predicted[start + column] : -INFINITY);
    }
    max = block_max(max, maxima);
    double sum = 0.0, away = 0.0, cross = 0.0;
#pragma unroll 4
    for (int column = thread; column < stride; column += WIDE) {
        size_t at = start + column;
        if (count[at] > 0.0f) {
            double distance = predicted[at] - max, weight = expf(distance);
            sum += count[at] * weight;
            away += removed[at] * weight;
            cross += mass[at] / MASS_UNIT * distance;
        }
    }
    sum = block_sum(sum, sums);
    away = block_sum(away, sums) / sum;
    cross = block_sum(cross, sums);
    if (thread == 0) {
        // The target's masses sum to 1.
        kl[row] = negentropy[row] - cross + log(sum);
        penalty[row] = away;
    }
#pragma unroll 4
    for (int column = thread; column < stride; column += WIDE) {
        size_t at = start + column;
        double slope = 0.0;
        if (count[at] > 0.0f) {
            double p = expf(predicted[at] - max) / sum;
            slope = count[at] * p - mass[at] / MASS_UNIT + gamma * p * (removed[at] - count[at] * away);
        }
        gradient[at] = scale * slope;
    }
}
