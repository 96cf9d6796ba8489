// Attention of single tokens over a cache in blocks: every row that a sequence has in it is read once.
#pragma once

#include <limits>

#include "mixture.h"

namespace countersign {

constexpr int TILE = 128;  // tokens between two looks at the highest score; their rows stay in the nearest caches
constexpr int ASKED = LANES == 16 ? 4 : 2;  // queries of a key head that are multiplied at once: what registers hold
constexpr float NONE = -std::numeric_limits<float>::infinity();

struct PagedCache {
    const float* rows;      // [slots, width]: keys of every key head, then values of every key head
    const int64_t* tables;  // [sequences, blocks]
    int64_t width, blocks, block_size, key_heads, dims;

    const float* row(int64_t sequence, int64_t token) const {
        const int64_t block = tables[sequence * blocks + token / block_size];
        return rows + (block * block_size + token % block_size) * width;
    }
};

// What a query has seen so far: the highest score, and the shares against it, lane by lane.
struct Seen {
    float highest = NONE;
    Floats shares = {};
};

// scores[query][token] of Q queries; behind `count` they are for nothing.
template <int Q>
inline void scores_of(const float* const* keys, int64_t count, const float* queries, int64_t dims, float scale,
                      float (*scores)[TILE]) {
    for (int64_t first = 0; first < count; first += 4) {
        Floats sums[Q][4] = {};
        for (int64_t at = 0; at < dims; at += LANES) {
            Floats key[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) key[i] = load<Floats>(keys[first + i] + at);
#pragma GCC unroll 4
            for (int query = 0; query < Q; query++) {
                const Floats asked = load<Floats>(queries + query * dims + at) * scale;
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) sums[query][i] += asked * key[i];
            }
        }
#pragma GCC unroll 4
        for (int query = 0; query < Q; query++) sums_of_four(sums[query], scores[query] + first);
    }
}

// Scores become shares against the highest so far; what was summed under a lower one is made less.
inline void shares_of(float* scores, int64_t count, Seen& seen, float* sums, int64_t dims) {
    const Floats none = {};
    Floats highest = none + seen.highest;
    for (int64_t token = count; token % LANES; token++) scores[token] = NONE;
    for (int64_t at = 0; at < count; at += LANES) {
        const Floats given = load<Floats>(scores + at);
        highest = given > highest ? given : highest;
    }
    const float before = seen.highest;
    for (int lane = 0; lane < LANES; lane++) seen.highest = std::max(seen.highest, highest[lane]);
    if (before != seen.highest) {
        const Floats kept = before == NONE ? none : exponential(none + (before - seen.highest));
        seen.shares *= kept;
        for (int64_t at = 0; at < dims; at += LANES) store(sums + at, load<Floats>(sums + at) * kept);
    }
    for (int64_t at = 0; at < count; at += LANES) {
        const Floats below = load<Floats>(scores + at) - seen.highest;
        const Floats shares = below < none - 80.0f ? none : exponential(below);
        store(scores + at, shares);
        seen.shares += shares;
    }
}

template <int Q>
inline void add_values(const float* const* values, int64_t count, const float (*shares)[TILE], int64_t dims,
                       float* sums) {
    for (int64_t at = 0; at < dims; at += LANES) {
        Floats sum[Q];
#pragma GCC unroll 4
        for (int query = 0; query < Q; query++) sum[query] = load<Floats>(sums + query * dims + at);
        for (int64_t token = 0; token < count; token++) {
            const Floats value = load<Floats>(values[token] + at);
#pragma GCC unroll 4
            for (int query = 0; query < Q; query++) sum[query] += shares[query][token] * value;
        }
#pragma GCC unroll 4
        for (int query = 0; query < Q; query++) store(sums + query * dims + at, sum[query]);
    }
}

template <int Q>
inline void some_queries(const float* const* keys, const float* const* values, int64_t count, const float* queries,
                         int64_t dims, float scale, Seen* seen, float* sums) {
    alignas(64) float scores[Q][TILE];
    scores_of<Q>(keys, count, queries, dims, scale, scores);
    for (int query = 0; query < Q; query++) shares_of(scores[query], count, seen[query], sums + query * dims, dims);
    add_values<Q>(values, count, scores, dims, sums);
}

inline void tile_of_head(const float* const* rows, int64_t values_behind, int64_t count, const float* queries,
                         int64_t group, int64_t dims, float scale, Seen* seen, float* sums) {
    const float* values[TILE];
    for (int64_t token = 0; token < count; token++) values[token] = rows[token] + values_behind;
    for (int64_t first = 0; first < group; first += ASKED) {
        const auto some = [&](auto with) {
            some_queries<with>(rows, values, count, queries + first * dims, dims, scale, seen + first, sums + first * dims);
        };
        switch (std::min<int64_t>(ASKED, group - first)) {
            case 4: some(std::integral_constant<int, 4>()); break;
            case 3: some(std::integral_constant<int, 3>()); break;
            case 2: some(std::integral_constant<int, 2>()); break;
            default: some(std::integral_constant<int, 1>());
        }
    }
}

// to [sequences, heads * dims] of queries [sequences, heads, dims]; each sees its position and `window` - 1 before it.
// `dims` is a multiple of LANES.
inline void attend_once(const PagedCache& cache, const float* queries, const int64_t* positions, int64_t sequences,
                        int64_t heads, int64_t window, float scale, float* to) {
    const int64_t group = heads / cache.key_heads, dims = cache.dims;
    std::vector<Seen> seen(heads);
    for (int64_t sequence = 0; sequence < sequences; sequence++, queries += heads * dims, to += heads * dims) {
        std::fill(to, to + heads * dims, 0.0f);
        std::fill(seen.begin(), seen.end(), Seen{});
        const int64_t end = positions[sequence] + 1;
        for (int64_t first = std::max<int64_t>(0, end - window); first < end; first += TILE) {
            const int64_t count = std::min<int64_t>(TILE, end - first);
            const float* rows[TILE + 4];
            for (int64_t token = 0; token < count; token++) rows[token] = cache.row(sequence, first + token);
            for (int64_t token = count; token % 4; token++) rows[token] = rows[0];  // keys come in fours
            for (int64_t head = 0; head < cache.key_heads; head++) {
                const int64_t query = head * group;
                tile_of_head(rows, cache.key_heads * dims, count, queries + query * dims, group, dims, scale,
                             &seen[query], to + query * dims);
                for (int64_t token = 0; token < (count + 3) / 4 * 4; token++) rows[token] += dims;
            }
        }
        for (int64_t head = 0; head < heads; head++) {
            float sum = 0;
            for (int lane = 0; lane < LANES; lane++) sum += seen[head].shares[lane];
            for (int64_t at = 0; at < dims; at += LANES) {
                store(to + head * dims + at, load<Floats>(to + head * dims + at) / sum);
            }
        }
    }
}

}  // namespace countersign
