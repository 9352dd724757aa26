// What all kernels share. Defined on the host: NETWORK (0 local, 1 distribution-aware, 2 attention), D features of a column and
// DP, the same rounded up to 4, C context values of a row, HIDDEN units of the head; for attention HEADS, HEAD_DIM, BLOCKS,
// ENCODER_HIDDEN, FFN_HIDDEN, TRUNCATION_HIDDEN, SCALED, PER_LANE; THREADS of the kernels in which a thread has a column to
// itself. Offsets `P_*` are into the natural parameters, `W_*` into the packed ones and `B_*` from the block's first one on;
// rows of packed matrices are padded to multiples of 4 floats and aligned.
//
// A column is one distinct logit of one row; `stride` columns belong to each row, those past its last one have count 0. Matrices
// over columns are feature-major, `[features][columns]`.

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
/// Columns of shared-memory matrices, one more so that walking down a column meets all banks.
#define PITCH (THREADS + 1)
/// Bins of the upper halves of f32 bit patterns.
#define BINS 65536
/// Largest block of the kernels that reduce a whole row.
#define WIDE 1024

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ inline float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

/// elu(x) + 1.
__device__ inline float feature_map(float x) { return x > 0.0f ? x + 1.0f : expf(x); }

/// Gradient of silu(g)·u: `dg` and `du` of d(silu(g)·u) = dh.
__device__ inline void swiglu_backward(float g, float u, float dh, float &dg, float &du) {
    float s = sigmoid(g), silu = g * s;
    dg = dh * u * s * (1.0f + g * (1.0f - s));
    du = dh * silu;
}

/// Σ w·x over one padded row of weights.
__device__ inline float dot_row(const float *__restrict__ w, const float *x) {
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
#pragma unroll
    for (int j = 0; j < DP; j += 4) {
        float4 v = *reinterpret_cast<const float4 *>(w + j);
        a += v.x * x[j];
        b += v.y * x[j + 1];
        c += v.z * x[j + 2];
        d += v.w * x[j + 3];
    }
    return (a + b) + (c + d);
}

/// y += a·w over one padded row of weights.
__device__ inline void axpy_row(float a, const float *__restrict__ w, float *y) {
#pragma unroll
    for (int j = 0; j < DP; j += 4) {
        float4 v = *reinterpret_cast<const float4 *>(w + j);
        y[j] += a * v.x;
        y[j + 1] += a * v.y;
        y[j + 2] += a * v.z;
        y[j + 3] += a * v.w;
    }
}

/// Features of a column; the padding is 0.
__device__ inline void load_column(const float *__restrict__ x, int columns, int column, float *out) {
#pragma unroll
    for (int j = 0; j < DP; j++) {
        out[j] = j < D ? x[(size_t)j * columns + column] : 0.0f;
    }
}

__device__ inline void store_column(float *__restrict__ x, int columns, int column, const float *values) {
#pragma unroll
    for (int j = 0; j < D; j++) {
        x[(size_t)j * columns + column] = values[j];
    }
}

/// Sum of `value` over the block in a fixed order; every thread gets it.
template <typename T> __device__ inline T block_sum(T value, T *shared) {
    __syncthreads();
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int width = WIDE / 2; width > 0; width /= 2) {
        if ((int)threadIdx.x < width && (int)threadIdx.x + width < (int)blockDim.x) {
            shared[threadIdx.x] += shared[threadIdx.x + width];
        }
        __syncthreads();
    }
    T sum = shared[0];
    __syncthreads();
    return sum;
}

/// Largest `value` of the block; every thread gets it.
__device__ inline float block_max(float value, float *shared) {
    __syncthreads();
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int width = WIDE / 2; width > 0; width /= 2) {
        if ((int)threadIdx.x < width && (int)threadIdx.x + width < (int)blockDim.x) {
            shared[threadIdx.x] = fmaxf(shared[threadIdx.x], shared[threadIdx.x + width]);
        }
        __syncthreads();
    }
    float max = shared[0];
    __syncthreads();
    return max;
}

/// Sums of `partial: [rows][blocks][width]` over the blocks into `out: [rows][width]`. Grid: (⌈width / 32⌉, rows), 256 threads.
extern "C" __global__ void sum_blocks(const float *__restrict__ partial, int blocks, int width, float *__restrict__ out) {
    __shared__ float shared[8][33];
    int lane = threadIdx.x % 32, group = threadIdx.x / 32, row = blockIdx.y;
    int at = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (at < width) {
        for (int block = group; block < blocks; block += 8) {
            sum += partial[((size_t)row * blocks + block) * width + at];
        }
    }
    shared[group][lane] = sum;
    __syncthreads();
    if (group == 0 && at < width) {
        for (int other = 1; other < 8; other++) {
            sum += shared[other][lane];
        }
        out[(size_t)row * width + at] = sum;
    }
}
