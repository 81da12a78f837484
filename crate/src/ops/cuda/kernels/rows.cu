// Passes over rows and elements: normalization, rotation, gates, embedding, cross entropy, SGD.
// Row numbers and element counts are 64 bits wide. One block a row, unless it says otherwise.
#include "element.cuh"

// ---- RMS normalization: y = x / sqrt(mean(x^2) + eps) * w

template <typename T>
__device__ void rms_norm(T *y, const T *x, const T *w, int width, float eps) {
    x += (long)blockIdx.x * width, y += (long)blockIdx.x * width;
    const bool fast = aligned(x, width) && aligned(w, width) && aligned(y, width);
    float squares = 0.0f;
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8];
        load8(a, x + c, fast, width - c);
        for (int i = 0; i < 8; i++) squares += a[i] * a[i];
    }
    const float scale = rsqrtf(block_sum(squares) / width + eps);
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8], b[8];
        load8(a, x + c, fast, width - c);
        load8(b, w + c, fast, width - c);
        for (int i = 0; i < 8; i++) a[i] *= scale * b[i];
        store8(y + c, a, fast, width - c);
    }
}

// dx = r*(g*w - x*r^2*mean(g*w*x)); the block's rows' share of dw = sum g*x*r goes to its row of `partial`
// [gridDim.x, width] in float32. A block takes every gridDim.x-th row and keeps its sums in shared memory [width].
template <typename T>
__device__ void rms_norm_backward(T *dx, float *partial, const T *x, const T *w, const T *g, long rows, int width, float eps) {
    extern __shared__ float sums[];
    const bool fast = aligned(x, width) && aligned(w, width) && aligned(g, width) && aligned(dx, width);
    for (int c = threadIdx.x; c < width; c += blockDim.x) sums[c] = 0.0f;
    __syncthreads();
    for (long row = blockIdx.x; row < rows; row += gridDim.x) {
        const T *xr = x + row * width, *gr = g + row * width;
        float squares = 0.0f, along = 0.0f;
        for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
            float a[8], b[8], d[8];
            load8(a, xr + c, fast, width - c);
            load8(b, w + c, fast, width - c);
            load8(d, gr + c, fast, width - c);
            for (int i = 0; i < 8; i++) squares += a[i] * a[i], along += a[i] * b[i] * d[i];
        }
        const float scale = rsqrtf(block_sum(squares) / width + eps);
        const float pull = block_sum(along) / width * scale * scale;
        for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
            float a[8], b[8], d[8];
            load8(a, xr + c, fast, width - c);
            load8(b, w + c, fast, width - c);
            load8(d, gr + c, fast, width - c);
            // These columns are this thread's in every row.
            for (int i = 0; i < 8 && c + i < width; i++) sums[c + i] += d[i] * a[i] * scale;
            for (int i = 0; i < 8; i++) d[i] = scale * (d[i] * b[i] - a[i] * pull);
            store8(dx + row * width + c, d, fast, width - c);
        }
    }
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8)
        for (int i = 0; i < 8 && c + i < width; i++) partial[(long)blockIdx.x * width + c + i] = sums[c + i];
}

// ---- Layer normalization: y = (x - mean) / sqrt(var + eps) * w + b

template <typename T>
__device__ float2 moments(const T *x, int width, float eps, bool fast) {
    float sum = 0.0f, squares = 0.0f;
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8];
        load8(a, x + c, fast, width - c);
        for (int i = 0; i < 8; i++) sum += a[i];
    }
    const float mean = block_sum(sum) / width;
    // From centered values, because the difference of squares would cancel.
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8];
        load8(a, x + c, fast, width - c);
        for (int i = 0; i < 8 && c + i < width; i++) squares += (a[i] - mean) * (a[i] - mean);
    }
    return make_float2(mean, rsqrtf(block_sum(squares) / width + eps));
}

template <typename T>
__device__ void layer_norm(T *y, const T *x, const T *w, const T *b, int width, float eps) {
    x += (long)blockIdx.x * width, y += (long)blockIdx.x * width;
    const bool fast = aligned(x, width) && aligned(w, width) && aligned(b, width) && aligned(y, width);
    const float2 m = moments(x, width, eps, fast);
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8], s[8], t[8];
        load8(a, x + c, fast, width - c);
        load8(s, w + c, fast, width - c);
        load8(t, b + c, fast, width - c);
        for (int i = 0; i < 8; i++) a[i] = (a[i] - m.x) * m.y * s[i] + t[i];
        store8(y + c, a, fast, width - c);
    }
}

// With n = (x - mean)*r: dx = r*(g*w - mean(g*w) - n*mean(g*w*n)); rows' shares of dw = sum g*n and db = sum g go to
// `partial` [gridDim.x, 2*width]; shared memory is [2*width].
template <typename T>
__device__ void layer_norm_backward(T *dx, float *partial, const T *x, const T *w, const T *g, long rows, int width, float eps) {
    extern __shared__ float sums[];
    const bool fast = aligned(x, width) && aligned(w, width) && aligned(g, width) && aligned(dx, width);
    for (int c = threadIdx.x; c < 2 * width; c += blockDim.x) sums[c] = 0.0f;
    __syncthreads();
    for (long row = blockIdx.x; row < rows; row += gridDim.x) {
        const T *xr = x + row * width, *gr = g + row * width;
        const float2 m = moments(xr, width, eps, fast);
        float level = 0.0f, along = 0.0f;
        for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
            float a[8], b[8], d[8];
            load8(a, xr + c, fast, width - c);
            load8(b, w + c, fast, width - c);
            load8(d, gr + c, fast, width - c);
            for (int i = 0; i < 8; i++) level += b[i] * d[i], along += b[i] * d[i] * (a[i] - m.x) * m.y;
        }
        level = block_sum(level) / width;
        along = block_sum(along) / width;
        for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
            float a[8], b[8], d[8];
            load8(a, xr + c, fast, width - c);
            load8(b, w + c, fast, width - c);
            load8(d, gr + c, fast, width - c);
            for (int i = 0; i < 8 && c + i < width; i++) {
                const float n = (a[i] - m.x) * m.y;
                sums[c + i] += d[i] * n;
                sums[width + c + i] += d[i];
                d[i] = m.y * (d[i] * b[i] - level - n * along);
            }
            store8(dx + row * width + c, d, fast, width - c);
        }
    }
    // These are not the columns that this thread added to, so all threads must be done.
    __syncthreads();
    for (int c = threadIdx.x; c < 2 * width; c += blockDim.x) partial[(long)blockIdx.x * 2 * width + c] = sums[c];
}

// Sums of columns: `parts` [parts, width] -> y [width]; a thread a column, and blockDim.y strands of rows.
template <typename T, typename S>
__device__ void column_sums(T *y, const S *parts, long rows, int width) {
    __shared__ float strands[32][33];
    const int c = blockIdx.x * 32 + threadIdx.x;
    float sum = 0.0f;
    if (c < width)
        for (long row = threadIdx.y; row < rows; row += blockDim.y) sum += wide(parts[row * width + c]);
    strands[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < width) {
        for (int strand = 1; strand < blockDim.y; strand++) sum += strands[strand][threadIdx.x];
        y[c] = narrow<T>(sum);
    }
}

// ---- Rotation of pairs (x1, x2) half a head apart. x is [batch, outer, inner, width] contiguous; a table [tables,
// tokens, half] in float32 is chosen by batch and token, where the token is the outer number if `token_outer`.
template <typename T>
__device__ void rotate(T *y, const T *x, const float *cosines, const float *sines, long pairs, int outer, int inner, int half,
                       int token_outer, int tables, float direction) {
    const int tokens = token_outer ? outer : inner;
    const long per_batch = (long)outer * inner;
    // Eight pairs at once; the last of a row may be fewer.
    const int chunks = (half + 7) / 8;
    const long all = pairs / half * chunks;
    const bool fast = aligned(x, half) && aligned(y, half) && aligned(cosines, half) && aligned(sines, half) && half % 8 == 0;
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < all; i += (long)gridDim.x * blockDim.x) {
        const long row = i / chunks, batch = row / per_batch;
        const int c = (i - row * chunks) * 8, within = row - batch * per_batch;
        const int token = token_outer ? within / inner : within % inner;
        const long angle = ((tables == 1 ? 0 : batch) * tokens + token) * half + c, at = row * 2 * half + c;
        float co[8], si[8], x1[8], x2[8];
        load8(co, cosines + angle, fast, half - c);
        load8(si, sines + angle, fast, half - c);
        load8(x1, x + at, fast, half - c);
        load8(x2, x + at + half, fast, half - c);
        for (int j = 0; j < 8; j++) {
            const float first = x1[j] * co[j] - x2[j] * si[j] * direction;
            x2[j] = x2[j] * co[j] + x1[j] * si[j] * direction;
            x1[j] = first;
        }
        store8(y + at, x1, fast, half - c);
        store8(y + at + half, x2, fast, half - c);
    }
}

// ---- Heads of tokens to tokens of heads: x [batch, outer, inner, width] -> y [batch, inner, outer, width].
template <typename T>
__device__ void exchange(T *y, const T *x, long n, int outer, int inner, int width) {
    const bool fast = aligned(x, width) && aligned(y, width);
    const int chunks = (width + 7) / 8;
    const long all = n / width * chunks;
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < all; i += (long)gridDim.x * blockDim.x) {
        const long row = i / chunks, batch = row / ((long)outer * inner);
        const int c = (i - row * chunks) * 8, within = row - batch * outer * inner, o = within / inner;
        float a[8];
        load8(a, x + row * width + c, fast, width - c);
        store8(y + (batch * outer * inner + (long)(within - o * inner) * outer + o) * width + c, a, fast, width - c);
    }
}

// ---- Gates: y = f(gate) * up

enum { SILU = 0, RELU = 1, GELU = 2, GELU_TANH = 3 };

// f(x) and f'(x)
__device__ __forceinline__ float2 opened(float x, int kind) {
    if (kind == SILU) {
        const float s = 1.0f / (1.0f + __expf(-x));
        return make_float2(x * s, s * (1.0f + x * (1.0f - s)));
    }
    if (kind == RELU) return make_float2(fmaxf(x, 0.0f), x > 0.0f ? 1.0f : 0.0f);
    if (kind == GELU) {
        const float cdf = 0.5f * (1.0f + erff(x * 0.70710678f));
        return make_float2(x * cdf, cdf + x * 0.39894228f * __expf(-0.5f * x * x));
    }
    const float inner = 0.79788456f * (x + 0.044715f * x * x * x);
    const float t = tanhf(inner);
    const float slope = 0.79788456f * (1.0f + 3.0f * 0.044715f * x * x);
    return make_float2(0.5f * x * (1.0f + t), 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * slope);
}

template <typename T>
__device__ void gated(T *y, const T *gate, const T *up, long n, int kind) {
    const bool fast = aligned(gate, 8) && aligned(up, 8) && aligned(y, 8);
    for (long c = (blockIdx.x * (long)blockDim.x + threadIdx.x) * 8; c < n; c += (long)gridDim.x * blockDim.x * 8) {
        float a[8], b[8];
        const bool whole = fast && c + 8 <= n;
        load8(a, gate + c, whole, n - c);
        load8(b, up + c, whole, n - c);
        for (int i = 0; i < 8; i++) a[i] = opened(a[i], kind).x * b[i];
        store8(y + c, a, whole, n - c);
    }
}

// d = [2, n]: the gradients of gate and up.
template <typename T>
__device__ void gated_backward(T *d, const T *gate, const T *up, const T *g, long n, int kind) {
    const bool fast = aligned(gate, 8) && aligned(up, 8) && aligned(g, 8) && aligned(d, 8) && aligned(d + n, 8);
    for (long c = (blockIdx.x * (long)blockDim.x + threadIdx.x) * 8; c < n; c += (long)gridDim.x * blockDim.x * 8) {
        float a[8], b[8], e[8];
        const bool whole = fast && c + 8 <= n;
        load8(a, gate + c, whole, n - c);
        load8(b, up + c, whole, n - c);
        load8(e, g + c, whole, n - c);
        for (int i = 0; i < 8; i++) {
            const float2 f = opened(a[i], kind);
            a[i] = e[i] * b[i] * f.y;
            b[i] = e[i] * f.x;
        }
        store8(d + c, a, whole, n - c);
        store8(d + n + c, b, whole, n - c);
    }
}

// y = cap tanh(x / cap).
template <typename T>
__device__ void softcap(T *y, const T *x, long n, float cap) {
    const bool fast = aligned(x, 8) && aligned(y, 8);
    for (long c = (blockIdx.x * (long)blockDim.x + threadIdx.x) * 8; c < n; c += (long)gridDim.x * blockDim.x * 8) {
        float a[8];
        const bool whole = fast && c + 8 <= n;
        load8(a, x + c, whole, n - c);
        for (int i = 0; i < 8; i++) a[i] = cap * tanhf(a[i] / cap);
        store8(y + c, a, whole, n - c);
    }
}

// d = g (1 - (y / cap)^2).
template <typename T>
__device__ void softcap_backward(T *d, const T *y, const T *g, long n, float cap) {
    const bool fast = aligned(y, 8) && aligned(g, 8) && aligned(d, 8);
    for (long c = (blockIdx.x * (long)blockDim.x + threadIdx.x) * 8; c < n; c += (long)gridDim.x * blockDim.x * 8) {
        float a[8], b[8];
        const bool whole = fast && c + 8 <= n;
        load8(a, y + c, whole, n - c);
        load8(b, g + c, whole, n - c);
        for (int i = 0; i < 8; i++) {
            const float tanh = a[i] / cap;
            a[i] = b[i] * (1 - tanh * tanh);
        }
        store8(d + c, a, whole, n - c);
    }
}

// ---- Embedding: rows of a table by number; one block an id.

template <typename T>
__device__ void embedding(T *y, const T *table, const unsigned *ids, int width, unsigned rows) {
    const unsigned id = ids[blockIdx.x];
    y += (long)blockIdx.x * width;
    const T *x = table + (long)id * width;
    const bool fast = aligned(table, width) && aligned(y, width);
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8];
        // An id beyond the table gives NaN; the host cannot detect it without waiting.
        for (int i = 0; i < 8; i++) a[i] = NAN;
        if (id < rows) load8(a, x + c, fast, width - c);
        store8(y + c, a, fast, width - c);
    }
}

// Where each row's first use is found: a list through `next` [n] for every row of the table; `head` [rows] starts at -1.
extern "C" __global__ void embedding_lists(int *head, int *next, const unsigned *ids, int n, unsigned rows) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && ids[i] < rows) next[i] = atomicExch(head + ids[i], i);
}

// The gradient of the table, one block a row: sums the gradients of its uses in their order, so that it comes out the
// same every time; beyond LISTED uses of one row, the order is the list's.
constexpr int LISTED = 2048;
template <typename T>
__device__ void embedding_backward(T *d, const T *g, const int *head, const int *next, int width) {
    __shared__ int found[LISTED];
    __shared__ int sorted[LISTED];
    __shared__ int count, rest;
    d += (long)blockIdx.x * width;
    if (threadIdx.x == 0) {
        int n = 0, use = head[blockIdx.x];
        while (use >= 0 && n < LISTED) found[n++] = use, use = next[use];
        count = n, rest = use;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        int before = 0;
        for (int j = 0; j < count; j++) before += found[j] < found[i];
        sorted[before] = found[i];
    }
    __syncthreads();
    const bool fast = aligned(g, width) && aligned(d, width);
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0}, a[8];
        for (int i = 0; i < count; i++) {
            load8(a, g + (long)sorted[i] * width + c, fast, width - c);
            for (int j = 0; j < 8; j++) sum[j] += a[j];
        }
        for (int use = rest; use >= 0; use = next[use]) {
            load8(a, g + (long)use * width + c, fast, width - c);
            for (int j = 0; j < 8; j++) sum[j] += a[j];
        }
        store8(d + c, sum, fast, width - c);
    }
}

// ---- Cross entropy: logits [rows, width] become the gradient of their part in the mean, (softmax - one-hot) * share;
// losses [rows].
template <typename T>
__device__ void cross_entropy(T *logits, float *losses, const unsigned *targets, int width, float share) {
    logits += (long)blockIdx.x * width;
    const bool fast = aligned(logits, width);
    float highest = -INFINITY, sum = 0.0f;
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8];
        load8(a, logits + c, fast, width - c);
        float top = highest;
        for (int i = 0; i < 8; i++) top = c + i < width ? fmaxf(top, a[i]) : top;
        sum *= __expf(highest - top);
        for (int i = 0; i < 8; i++) sum += c + i < width ? __expf(a[i] - top) : 0.0f;
        highest = top;
    }
    const float top = block_max(highest);
    sum = block_sum(highest == -INFINITY ? 0.0f : sum * __expf(highest - top));
    const unsigned target = targets[blockIdx.x];
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) + top - wide(logits[target]);
    __syncthreads();
    const float scale = share / sum;
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8];
        load8(a, logits + c, fast, width - c);
        for (int i = 0; i < 8; i++) a[i] = __expf(a[i] - top) * scale - (c + i == target ? share : 0.0f);
        store8(logits + c, a, fast, width - c);
    }
}

// ---- w <- w - lr*g

template <typename T>
__device__ void sgd(T *w, const T *g, long n, float lr) {
    const bool fast = aligned(w, 8) && aligned(g, 8);
    for (long c = (blockIdx.x * (long)blockDim.x + threadIdx.x) * 8; c < n; c += (long)gridDim.x * blockDim.x * 8) {
        float a[8], b[8];
        const bool whole = fast && c + 8 <= n;
        load8(a, w + c, whole, n - c);
        load8(b, g + c, whole, n - c);
        for (int i = 0; i < 8; i++) a[i] -= lr * b[i];
        store8(w + c, a, whole, n - c);
    }
}

// y = x + b, with b [width] to every row.
template <typename T>
__device__ void add_bias(T *x, const T *b, int width) {
    x += (long)blockIdx.x * width;
    const bool fast = aligned(x, width) && aligned(b, width);
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float a[8], s[8];
        load8(a, x + c, fast, width - c);
        load8(s, b + c, fast, width - c);
        for (int i = 0; i < 8; i++) a[i] += s[i];
        store8(x + c, a, fast, width - c);
    }
}

// ---- Softmax of attention scores in place, where whole rows of scores exist. Rows are [batch, heads, queries] of a
// block whose first query is `first`; keys [0, keys).
struct Visible {
    const unsigned char *padded;  // [batch, keys], 1 hides; or null
    const unsigned *documents;    // [batch, keys]; or null
    int past_len, window, causal;     // query q sees keys up to q + past_len if causal, the last `window` of them if not 0
};

__device__ __forceinline__ bool visible(const Visible &m, long row, int keys, int q, int k) {
    const int p = q + m.past_len;
    if (m.causal && k > p) return false;
    if (m.window && k + m.window <= p) return false;
    if (m.padded && m.padded[row * keys + k]) return false;
    return !m.documents || m.documents[row * keys + p] == m.documents[row * keys + k];
}

// Hidden scores are this, not -infinity: a row that sees nothing averages over all keys.
constexpr float HIDDEN = -1e30f;

// `sinks` [heads], if not null, are one more score of each row; its weights go to `shares` [rows]. Scaled scores become
// cap tanh(score/cap) if `cap` is not 0, and its derivatives go to `cap_slopes`, of the shape of the scores, if that is
// not null.
template <typename T>
__device__ void masked_softmax(T *scores, const float *slopes, const float *sinks, float *shares, T *cap_slopes, Visible m, int heads,
                               int queries, int first, int keys, float scale, float cap) {
    const long row = blockIdx.x;
    const int q = first + row % queries, head = row / queries % heads;
    const long batch = row / queries / heads;
    const float slope = slopes ? slopes[head] : 0.0f, sink = sinks ? sinks[head] : -INFINITY;
    scores += row * keys;
    auto capped = [&](int k) { return tanhf(wide(scores[k]) * scale / cap); };
    auto score = [&](int k) {
        if (!visible(m, batch, keys, q, k)) return HIDDEN;
        return (cap == 0.0f ? wide(scores[k]) * scale : cap * capped(k)) + slope * (k - q - m.past_len);
    };
    float highest = -INFINITY, sum = 0.0f;
    for (int k = threadIdx.x; k < keys; k += blockDim.x) {
        const float s = score(k);
        if (s > highest) sum *= __expf(highest - s), highest = s;
        sum += __expf(s - highest);
    }
    const float top = fmaxf(block_max(highest), sink), share = __expf(sink - top);
    sum = block_sum(highest == -INFINITY ? 0.0f : sum * __expf(highest - top)) + share;
    if (shares && threadIdx.x == 0) shares[row] = share / sum;
    for (int k = threadIdx.x; k < keys; k += blockDim.x) {
        const float s = score(k);
        if (cap_slopes) {
            const float t = capped(k);
            cap_slopes[row * keys + k] = narrow<T>(1.0f - t * t);
        }
        scores[k] = narrow<T>(__expf(s - top) / sum);
    }
}

// From probabilities p and their gradients dp, in dp's place: the gradients of the unscaled scores,
// p*(dp - sum p*dp)*scale, which are zero where p is, times `cap_slopes` if that is not null. The row's share of the slopes'
// gradients, sum ds*(k - q)/scale, goes to `of_slopes` [rows] if that is not null, and of the sinks' to `of_sinks`; the first
// query of the block comes after `before` keys.
template <typename T>
__device__ void masked_softmax_backward(T *dp, const T *p, const T *cap_slopes, const float *shares, float *of_slopes, float *of_sinks,
                                        int queries, int before, int keys, float scale) {
    const long row = blockIdx.x;
    const int at = before + row % queries;
    dp += row * keys, p += row * keys;
    float level = 0.0f;
    for (int k = threadIdx.x; k < keys; k += blockDim.x) level += wide(p[k]) * wide(dp[k]);
    level = block_sum(level);
    float slope = 0.0f;
    for (int k = threadIdx.x; k < keys; k += blockDim.x) {
        const float d = wide(p[k]) * (wide(dp[k]) - level);
        slope += d * (k - at);
        dp[k] = narrow<T>(d * scale * (cap_slopes ? wide(cap_slopes[row * keys + k]) : 1.0f));
    }
    if (of_slopes) {
        slope = block_sum(slope);
        if (threadIdx.x == 0) of_slopes[row] = slope;
    }
    if (of_sinks && threadIdx.x == 0) of_sinks[row] = -shares[row] * level;
}

// ---- Rows of x that belong to one token, weighted and summed: y [tokens, width] from x [tokens*active, width],
// of which token t has the rows slots [t, 0..active] with weights [t, 0..active].
template <typename T>
__device__ void combine(T *y, const T *x, const unsigned *slots, const T *weights, int active, int width) {
    y += (long)blockIdx.x * width, slots += (long)blockIdx.x * active, weights += (long)blockIdx.x * active;
    const bool fast = aligned(y, width) && aligned(x, width);
    for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
        float sum[8] = {};
        for (int j = 0; j < active; j++) {
            const float w = wide(weights[j]);
            float a[8];
            load8(a, x + (long)slots[j] * width + c, fast, width - c);
            for (int i = 0; i < 8; i++) sum[i] += w * a[i];
        }
        store8(y + c, sum, fast, width - c);
    }
}

// The gradients of x and of the weights.
template <typename T>
__device__ void combine_backward(T *dx, T *dw, const T *x, const unsigned *slots, const T *weights, const T *g, int active, int width) {
    g += (long)blockIdx.x * width, slots += (long)blockIdx.x * active, weights += (long)blockIdx.x * active;
    const bool fast = aligned(dx, width) && aligned(x, width) && aligned(g, width);
    for (int j = 0; j < active; j++) {
        const float w = wide(weights[j]);
        const long row = (long)slots[j] * width;
        float dot = 0.0f;
        for (int c = threadIdx.x * 8; c < width; c += blockDim.x * 8) {
            float a[8], b[8];
            load8(a, x + row + c, fast, width - c);
            load8(b, g + c, fast, width - c);
            for (int i = 0; i < 8; i++) dot += a[i] * b[i], b[i] *= w;
            store8(dx + row + c, b, fast, width - c);
        }
        dot = block_sum(dot);
        if (threadIdx.x == 0) dw[(long)blockIdx.x * active + j] = narrow<T>(dot);
    }
}

// ---- Names for the host

#define KERNELS(T, S)                                                                                                            \
    extern "C" __global__ void rms_norm_##S(T *y, const T *x, const T *w, int width, float eps) { rms_norm(y, x, w, width, eps); } \
    extern "C" __global__ void rms_norm_backward_##S(T *dx, float *partial, const T *x, const T *w, const T *g, long rows,        \
                                                     int width, float eps) {                                                      \
        rms_norm_backward(dx, partial, x, w, g, rows, width, eps);                                                                \
    }                                                                                                                             \
    extern "C" __global__ void layer_norm_##S(T *y, const T *x, const T *w, const T *b, int width, float eps) {                   \
        layer_norm(y, x, w, b, width, eps);                                                                                       \
    }                                                                                                                             \
    extern "C" __global__ void layer_norm_backward_##S(T *dx, float *partial, const T *x, const T *w, const T *g, long rows,      \
                                                       int width, float eps) {                                                    \
        layer_norm_backward(dx, partial, x, w, g, rows, width, eps);                                                              \
    }                                                                                                                             \
    extern "C" __global__ void partial_sums_##S(T *y, const float *parts, long rows, int width) {                                 \
        column_sums(y, parts, rows, width);                                                                                       \
    }                                                                                                                             \
    extern "C" __global__ void column_sums_##S(T *y, const T *x, long rows, int width) { column_sums(y, x, rows, width); }        \
    extern "C" __global__ void rotate_##S(T *y, const T *x, const float *cosines, const float *sines, long pairs, int outer,      \
                                          int inner, int half, int token_outer, int tables, float direction) {                    \
        rotate(y, x, cosines, sines, pairs, outer, inner, half, token_outer, tables, direction);                                  \
    }                                                                                                                             \
    extern "C" __global__ void exchange_##S(T *y, const T *x, long n, int outer, int inner, int width) {                          \
        exchange(y, x, n, outer, inner, width);                                                                                   \
    }                                                                                                                             \
    extern "C" __global__ void gated_##S(T *y, const T *gate, const T *up, long n, int kind) { gated(y, gate, up, n, kind); }     \
    extern "C" __global__ void gated_backward_##S(T *d, const T *gate, const T *up, const T *g, long n, int kind) {               \
        gated_backward(d, gate, up, g, n, kind);                                                                                  \
    }                                                                                                                             \
    extern "C" __global__ void softcap_##S(T *y, const T *x, long n, float cap) { softcap(y, x, n, cap); }                        \
    extern "C" __global__ void softcap_backward_##S(T *d, const T *y, const T *g, long n, float cap) {                            \
        softcap_backward(d, y, g, n, cap);                                                                                        \
    }                                                                                                                             \
    extern "C" __global__ void embedding_##S(T *y, const T *table, const unsigned *ids, int width, unsigned rows) {               \
        embedding(y, table, ids, width, rows);                                                                                    \
    }                                                                                                                             \
    extern "C" __global__ void embedding_backward_##S(T *d, const T *g, const int *head, const int *next, int width) {            \
        embedding_backward(d, g, head, next, width);                                                                              \
    }                                                                                                                             \
    extern "C" __global__ void cross_entropy_##S(T *logits, float *losses, const unsigned *targets, int width, float share) {     \
        cross_entropy(logits, losses, targets, width, share);                                                                     \
    }                                                                                                                             \
    extern "C" __global__ void sgd_##S(T *w, const T *g, long n, float lr) { sgd(w, g, n, lr); }                                  \
    extern "C" __global__ void add_bias_##S(T *x, const T *b, int width) { add_bias(x, b, width); }                               \
    extern "C" __global__ void masked_softmax_##S(T *scores, const float *slopes, const float *sinks, float *shares, T *cap_slopes,\
                                                  Visible m, int heads, int queries, int first, int keys, float scale, float cap) {\
        masked_softmax(scores, slopes, sinks, shares, cap_slopes, m, heads, queries, first, keys, scale, cap);                   \
    }                                                                                                                            \
    extern "C" __global__ void masked_softmax_backward_##S(T *dp, const T *p, const T *cap_slopes, const float *shares,          \
                                                           float *of_slopes, float *of_sinks, int queries, int before, int keys, \
                                                           float scale) {                                                        \
        masked_softmax_backward(dp, p, cap_slopes, shares, of_slopes, of_sinks, queries, before, keys, scale);                   \
    }                                                                                                                            \
    extern "C" __global__ void combine_##S(T *y, const T *x, const unsigned *slots, const T *weights, int active, int width) {   \
        combine(y, x, slots, weights, active, width);                                                                            \
    }                                                                                                                            \
    extern "C" __global__ void combine_backward_##S(T *dx, T *dw, const T *x, const unsigned *slots, const T *weights, const T *g,\
                                                    int active, int width) {                                                     \
        combine_backward(dx, dw, x, slots, weights, g, active, width);                                                           \
    }

KERNELS(float, f32)
KERNELS(bf16, bf16)
KERNELS(f16, f16)
