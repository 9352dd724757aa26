// Parameter gradients from feature-major matrices over columns, always added in the same order, and the optimiser.

/// Rows and columns of a gradient's tile.
#define TILE 32
/// Columns that a block holds at once, and the pitch of its rows in shared memory: 16-byte reads of 8 rows meet all banks.
#define SPAN 64
#define SPAN_PITCH 68
/// Values of a tile: TILE × TILE products, then TILE sums.
#define TILE_SIZE (TILE * TILE + TILE)

/// One tile of `gradient += A·Bᵀ` and, where `bias` is not negative, of `bias += ΣA`.
struct Tile {
    /// `[a_rows][length]` and `[b_rows][length]` from the tile's first row on.
    const float *a, *b;
    /// Rows of the tile that exist.
    int a_rows, b_rows;
    int length;
    /// Element (0, 0) of the tile, distance of its rows, and where its sums go.
    int into, row_stride, bias;
    /// Only the products of equal rows: element i goes to `into + i`.
    int diagonal;
};

/// Products of one tile over one chunk of the columns. Grid: (chunks, tiles), 256 threads.
extern "C" __global__ void __launch_bounds__(256) multiply_tiles(
    const Tile *__restrict__ tiles, float *__restrict__ partial
) {
    __shared__ __align__(16) float a[TILE * SPAN_PITCH], b[TILE * SPAN_PITCH];
    Tile tile = tiles[blockIdx.y];
    int spans = (tile.length + SPAN - 1) / SPAN, share = (spans + gridDim.x - 1) / gridDim.x;
    int first = blockIdx.x * share, last = min(first + share, spans);
    int i = threadIdx.x / 16, j = threadIdx.x % 16;
    float sum[2][2] = {{0.0f, 0.0f}, {0.0f, 0.0f}}, sums[2] = {0.0f, 0.0f};
    for (int span = first; span < last; span++) {
        for (int at = threadIdx.x; at < TILE * SPAN; at += 256) {
            int r = at / SPAN, c = at % SPAN, column = span * SPAN + c;
            bool inside = column < tile.length;
            a[r * SPAN_PITCH + c] = inside && r < tile.a_rows ? tile.a[(size_t)r * tile.length + column] : 0.0f;
            b[r * SPAN_PITCH + c] = inside && r < tile.b_rows ? tile.b[(size_t)r * tile.length + column] : 0.0f;
        }
        __syncthreads();
        if (tile.diagonal) {
            if (threadIdx.x < TILE) {
                for (int c = 0; c < SPAN; c++) {
                    sum[0][0] += a[threadIdx.x * SPAN_PITCH + c] * b[threadIdx.x * SPAN_PITCH + c];
                    sums[0] += a[threadIdx.x * SPAN_PITCH + c];
                }
            }
        } else {
            for (int c = 0; c < SPAN; c += 4) {
                float4 left[2], right[2];
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    left[k] = *reinterpret_cast<const float4 *>(a + (i + 16 * k) * SPAN_PITCH + c);
                    right[k] = *reinterpret_cast<const float4 *>(b + (j + 16 * k) * SPAN_PITCH + c);
                    sums[k] += (left[k].x + left[k].y) + (left[k].z + left[k].w);
                }
#pragma unroll
                for (int k = 0; k < 2; k++) {
#pragma unroll
                    for (int l = 0; l < 2; l++) {
                        sum[k][l] += left[k].x * right[l].x + left[k].y * right[l].y + left[k].z * right[l].z
                            + left[k].w * right[l].w;
                    }
                }
            }
        }
        __syncthreads();
    }
    float *out = partial + ((size_t)blockIdx.y * gridDim.x + blockIdx.x) * TILE_SIZE;
    if (tile.diagonal) {
        if (threadIdx.x < TILE) {
            out[threadIdx.x] = sum[0][0];
            out[TILE * TILE + threadIdx.x] = sums[0];
        }
        return;
    }
    for (int k = 0; k < 2; k++) {
        for (int l = 0; l < 2; l++) {
            out[(i + 16 * k) * TILE + j + 16 * l] = sum[k][l];
        }
        if (j == 0) {
            out[TILE * TILE + i + 16 * k] = sums[k];
        }
    }
}

/// Adds the chunks of each tile to the gradient. Grid: (⌈TILE_SIZE / 128⌉, tiles), 128 threads.
extern "C" __global__ void add_tiles(
    const Tile *__restrict__ tiles, const float *__restrict__ partial, int chunks, float *__restrict__ gradient
) {
    Tile tile = tiles[blockIdx.y];
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= TILE_SIZE) {
        return;
    }
    int into = -1;
    if (at >= TILE * TILE) {
        int row = at - TILE * TILE;
        if (row < tile.a_rows && tile.bias >= 0) {
            into = tile.bias + row;
        }
    } else if (tile.diagonal) {
        if (at < tile.a_rows) {
            into = tile.into + at;
        }
    } else if (at / TILE < tile.a_rows && at % TILE < tile.b_rows) {
        into = tile.into + at / TILE * tile.row_stride + at % TILE;
    }
    if (into >= 0) {
        float sum = 0.0f;
        for (int chunk = 0; chunk < chunks; chunk++) {
            sum += partial[((size_t)blockIdx.y * chunks + chunk) * TILE_SIZE + at];
        }
        gradient[into] += sum;
    }
}

/// Packed parameters from natural ones; places that `map` gives −1 are padding. Grid: ⌈length / 256⌉.
extern "C" __global__ void pack(
    const float *__restrict__ params, const int *__restrict__ map, int length, float *__restrict__ packed
) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < length) {
        packed[at] = map[at] < 0 ? 0.0f : params[map[at]];
    }
}
