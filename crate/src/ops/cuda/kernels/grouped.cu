// Products of consecutive groups of rows, each with matrices of its own, in one launch: what experts compute. On tensor cores
// by tiles of 128 x 128 results, 64 summed at a step, three steps in flight. Widths are multiples of eight.
//
// A group has `parts` matrices (gate and up); results are [parts, rows, outputs]. Matrices [outputs, inputs] are given by
// their addresses, [groups, parts].
#include "matrix.cuh"

constexpr int M = 128, N = 128, K = 64, STEPS = 3, THREADS = 128;
constexpr int STAGE = (M + N) * K;

// ROWS rows of D elements of a matrix; what is beyond its `rows` and `columns` becomes zeros.
template <typename T, int ROWS, int D>
__device__ __forceinline__ void fetch(T *tile, const T *from, long stride, int rows, int columns) {
    constexpr int CHUNKS = D / 8, DOWN = THREADS / CHUNKS;
    static_assert(DOWN % 8 == 0, "the swizzle of a thread's chunk is that of its first row");
    const int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    const bool inside = chunk * 8 < columns;
    T *to = tile + (row * CHUNKS + (chunk ^ (row & 7))) * 8;
    from += row * stride + chunk * 8;
#pragma unroll
    for (int i = 0; i < ROWS / DOWN; i++, to += DOWN * D, from += DOWN * stride) copy16(to, from, inside && row + i * DOWN < rows);
}

// Operands of one product of 16 summed elements: 64 rows and 64 columns of a warp.
template <typename T, bool A_TURNED, bool B_TURNED> struct Fragments {
    uint32_t a[4][4], b[4][4];
    __device__ __forceinline__ void load(const T *a_tile, const T *b_tile, int row, int column, int k) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (A_TURNED)
                Tile<T, M>::left_transposed(a[i], a_tile, k, row + 16 * i);
            else
                Tile<T, K>::left(a[i], a_tile, row + 16 * i, k);
            if (B_TURNED)
                Tile<T, N>::right_transposed(b[i], b_tile, k, column + 16 * i);
            else
                Tile<T, K>::right(b[i], b_tile, column + 16 * i, k);
        }
    }
    __device__ __forceinline__ void multiply(float (&c)[4][8][4]) const {
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int n = 0; n < 4; n++) {
                mma<T>(c[m][2 * n], a[m], b[n][0], b[n][1]);
                mma<T>(c[m][2 * n + 1], a[m], b[n][2], b[n][3]);
            }
    }
};

// c = A B over the steps that `get` fetches, A and B to a stage's two halves. A is [M, K], or [K, M] if A_TURNED; B is [N, K], or
// [K, N] if B_TURNED. A warp has 64 x 64 of the results; it loads the operands of one product while it computes another.
template <typename T, bool A_TURNED, bool B_TURNED, typename Get>
__device__ __forceinline__ void accumulate(float (&c)[4][8][4], T *memory, int steps, const Get &get) {
    const int warp = threadIdx.x >> 5, row = warp / 2 * 64, column = warp % 2 * 64;
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) c[m][n][i] = 0.0f;
#pragma unroll
    for (int step = 0; step < STEPS - 1; step++) {
        if (step < steps) get(step, memory + step * STAGE, memory + step * STAGE + M * K);
        commit();
    }
    Fragments<T, A_TURNED, B_TURNED> operands[2];
    wait<STEPS - 2>();
    __syncthreads();
    operands[0].load(memory, memory + M * K, row, column, 0);
    T *stage = memory, *const end = memory + STEPS * STAGE;
    for (int step = 0; step < steps; step++) {
#pragma unroll
        for (int k = 0; k < K / 16; k++) {
            if (k == 0) {
                // Everyone has read what the step before this one used.
                T *const free = stage == memory ? end - STAGE : stage - STAGE;
                if (step + STEPS - 1 < steps) get(step + STEPS - 1, free, free + M * K);
                commit();
            }
            if (k == K / 16 - 1) {
                wait<STEPS - 2>();
                __syncthreads();
                stage = stage + STAGE == end ? memory : stage + STAGE;
            }
            operands[(k + 1) & 1].load(stage, stage + M * K, row, column, (k + 1) % (K / 16));
            operands[k & 1].multiply(c);
        }
    }
}

// Writes the results that lie within `rows` and `columns`, through shared memory so that whole lines are written.
template <typename T>
__device__ __forceinline__ void put(T *to, long stride, const float (&c)[4][8][4], T *memory, int rows, int columns) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int row = warp / 2 * 64 + lane / 4, column = warp % 2 * 64 + 2 * (lane & 3);
    constexpr int PITCH = N + 8;
    wait<0>();
    __syncthreads();
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                T *const at = memory + (row + 16 * m + 8 * half) * PITCH + column + 8 * n;
                *reinterpret_cast<uint32_t *>(at) = pair(c[m][n][2 * half], c[m][n][2 * half + 1], T());
            }
    __syncthreads();
    for (int i = threadIdx.x; i < M * (N / 8); i += THREADS) {
        const int r = i / (N / 8), chunk = i % (N / 8) * 8;
        if (r < rows && chunk < columns)
            *reinterpret_cast<uint4 *>(to + r * stride + chunk) = *reinterpret_cast<const uint4 *>(memory + r * PITCH + chunk);
    }
}

// Tiles of rows are (group, first row, rows). Grid: (parts * tiles of outputs, tiles of rows).
template <typename T>
__device__ void products(T *y, const T *x, const long *matrices, const long *tiles, int parts, long rows, int outputs, int inputs) {
    extern __shared__ __align__(128) char memory[];
    const int across = (outputs + N - 1) / N, part = blockIdx.x / across, column = blockIdx.x % across * N;
    const long group = tiles[3 * blockIdx.y], first = tiles[3 * blockIdx.y + 1];
    const int count = tiles[3 * blockIdx.y + 2];
    const T *const w = reinterpret_cast<const T *>(matrices[group * parts + part]) + (long)column * inputs;
    x += first * inputs;
    float c[4][8][4];
    accumulate<T, false, false>(c, reinterpret_cast<T *>(memory), (inputs + K - 1) / K, [&](int step, T *a, T *b) {
        fetch<T, M, K>(a, x + step * K, inputs, count, inputs - step * K);
        fetch<T, N, K>(b, w + step * K, inputs, outputs - column, inputs - step * K);
    });
    put(y + (part * rows + first) * outputs + column, outputs, c, reinterpret_cast<T *>(memory), count, outputs - column);
}

// The gradient of x [rows, inputs] from that of y. Grid: (tiles of inputs, tiles of rows).
template <typename T>
__device__ void products_backward_rows(T *dx, const T *g, const long *matrices, const long *tiles, int parts, long rows, int outputs,
                                       int inputs) {
    extern __shared__ __align__(128) char memory[];
    const int column = blockIdx.x * N, steps = (outputs + K - 1) / K;
    const long group = tiles[3 * blockIdx.y], first = tiles[3 * blockIdx.y + 1];
    const int count = tiles[3 * blockIdx.y + 2];
    float c[4][8][4];
    accumulate<T, false, true>(c, reinterpret_cast<T *>(memory), parts * steps, [&](int step, T *a, T *b) {
        const int part = step / steps, output = step % steps * K;
        const T *const w = reinterpret_cast<const T *>(matrices[group * parts + part]) + (long)output * inputs + column;
        fetch<T, M, K>(a, g + (part * rows + first) * outputs + output, outputs, count, outputs - output);
        fetch<T, K, N>(b, w, inputs, outputs - output, inputs - column);
    });
    put(dx + first * inputs + column, inputs, c, reinterpret_cast<T *>(memory), count, inputs - column);
}

// The gradients of the matrices, to their addresses [groups, parts]. Groups are (first row, rows). Grid: (tiles of inputs,
// parts * tiles of outputs, groups).
template <typename T>
__device__ void products_backward_matrices(const long *gradients, const T *g, const T *x, const long *groups, int parts, long rows,
                                           int outputs, int inputs) {
    extern __shared__ __align__(128) char memory[];
    const int down = (outputs + M - 1) / M, part = blockIdx.y / down, output = blockIdx.y % down * M, column = blockIdx.x * N;
    const long first = groups[2 * blockIdx.z];
    const int count = groups[2 * blockIdx.z + 1];
    g += (part * rows + first) * outputs + output, x += first * inputs + column;
    float c[4][8][4];
    accumulate<T, true, true>(c, reinterpret_cast<T *>(memory), (count + K - 1) / K, [&](int step, T *a, T *b) {
        fetch<T, K, M>(a, g + (long)step * K * outputs, outputs, count - step * K, outputs - output);
        fetch<T, K, N>(b, x + (long)step * K * inputs, inputs, count - step * K, inputs - column);
    });
    T *const to = reinterpret_cast<T *>(gradients[(long)blockIdx.z * parts + part]) + (long)output * inputs + column;
    put(to, inputs, c, reinterpret_cast<T *>(memory), outputs - output, inputs - column);
}

#define GROUPED(T, S)                                                                                                               \
    extern "C" __global__ void __launch_bounds__(128) grouped_##S(T *y, const T *x, const long *matrices, const long *tiles, int parts,  \
                                                                  long rows, int outputs, int inputs) {                             \
        products(y, x, matrices, tiles, parts, rows, outputs, inputs);                                                              \
    }                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(128) grouped_backward_rows_##S(T *dx, const T *g, const long *matrices,            \
                                                                                const long *tiles, int parts, long rows, int outputs, \
                                                                                int inputs) {                                       \
        products_backward_rows(dx, g, matrices, tiles, parts, rows, outputs, inputs);                                               \
    }                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(128) grouped_backward_matrices_##S(const long *gradients, const T *g, const T *x,  \
                                                                                    const long *groups, int parts, long rows,       \
                                                                                    int outputs, int inputs) {                      \
        products_backward_matrices(gradients, g, x, groups, parts, rows, outputs, inputs);                                          \
    }
GROUPED(bf16, bf16)
GROUPED(f16, f16)
