// Attention of single tokens over a cache in blocks: every row that a sequence has in it is read once.
//
// Rows lie all over the cache, where no processor foresees them: while a tile is computed, the next one is fetched.
#pragma once

#include <limits>

#include "mixture.h"

namespace countersign {

constexpr int TILE = 64;  // tokens between two looks at the highest score; their rows stay in the nearest caches
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

// Some tokens of one sequence.
struct Tile {
    const float* rows[TILE + 4];  // keys come in fours: up to three more are the first again
    int64_t sequence = 0, count = 0;
    bool begins = false, ends = false;  // its sequence
};

// The tiles of all sequences, one after another.
class Tiles {
  public:
    Tiles(const PagedCache& cache, const int64_t* positions, int64_t sequences, int64_t window)
        : cache_(cache), positions_(positions), sequences_(sequences), window_(window) {}

    bool next(Tile& tile) {  // false when there is none: it is empty then
        tile.count = 0;
        if (sequence_ == sequences_) return false;
        const int64_t end = positions_[sequence_] + 1, start = std::max<int64_t>(0, end - window_);
        const int64_t first = std::max(start, done_);
        tile.sequence = sequence_, tile.count = std::min<int64_t>(TILE, end - first);
        tile.begins = first == start, tile.ends = first + tile.count == end;
        for (int64_t token = 0; token < tile.count; token++) tile.rows[token] = cache_.row(sequence_, first + token);
        for (int64_t token = tile.count; token % 4; token++) tile.rows[token] = tile.rows[0];
        done_ = tile.ends ? 0 : first + tile.count;
        if (tile.ends) sequence_++;
        return true;
    }

  private:
    const PagedCache& cache_;
    const int64_t* positions_;
    const int64_t sequences_, window_;
    int64_t sequence_ = 0, done_ = 0;  // tokens of that sequence
};

// What is fetched while scores are made: of each row of a tile as many floats from the same place on.
struct Coming {
    const Tile& tile;
    int64_t from, floats;

    // Of four rows. In line: a function that does nothing but fetch is taken for one that does nothing.
    __attribute__((always_inline)) void fetch(int64_t first) const {
        constexpr int64_t LINE = 64 / sizeof(float);
        for (int64_t token = first; token < std::min(first + 4, tile.count); token++) {
            for (int64_t at = 0; at < floats; at += LINE) __builtin_prefetch(tile.rows[token] + from + at, 0, 2);
        }
    }
};

// scores[query][token] of Q queries; behind `count` they are for nothing.
template <int Q>
inline void scores_of(const float* const* keys, int64_t count, const float* queries, int64_t dims, float scale,
                      const Coming& coming, float (*scores)[TILE]) {
    for (int64_t first = 0; first < count; first += 4) {
        coming.fetch(first);
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
                         int64_t dims, float scale, const Coming& coming, Seen* seen, float* sums) {
    alignas(64) float scores[Q][TILE];
    scores_of<Q>(keys, count, queries, dims, scale, coming, scores);
    for (int query = 0; query < Q; query++) shares_of(scores[query], count, seen[query], sums + query * dims, dims);
    add_values<Q>(values, count, scores, dims, sums);
}

// One key head's queries; `head` counts key heads.
inline void tile_of_head(const PagedCache& cache, const Tile& tile, const Tile& next, int64_t head, int64_t group,
                         const float* queries, float scale, Seen* seen, float* sums) {
    const int64_t dims = cache.dims, behind = cache.key_heads * dims;
    const float *keys[TILE + 4], *values[TILE + 4];
    for (int64_t token = 0; token < (tile.count + 3) / 4 * 4; token++) {
        keys[token] = tile.rows[token] + head * dims;
        values[token] = keys[token] + behind;
    }
    for (int64_t first = 0; first < group; first += ASKED) {
        const Coming coming = {next, 2 * head * dims, first ? 0 : 2 * dims};  // each head its share of the rows
        const auto some = [&](auto with) {
            some_queries<with>(keys, values, tile.count, queries + first * dims, dims, scale, coming, seen + first,
                               sums + first * dims);
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
    const int64_t group = heads / cache.key_heads, dims = cache.dims, width = heads * dims;
    std::vector<Seen> seen(heads);
    Tiles tiles(cache, positions, sequences, window);
    Tile one, other, *now = &one, *next = &other;
    for (bool more = tiles.next(*now); more; std::swap(now, next)) {
        more = tiles.next(*next);
        float* const sums = to + now->sequence * width;
        if (now->begins) {
            std::fill(sums, sums + width, 0.0f);
            std::fill(seen.begin(), seen.end(), Seen{});
        }
        for (int64_t head = 0; head < cache.key_heads; head++) {
            const int64_t first = head * group * dims;
            tile_of_head(cache, *now, *next, head, group, queries + now->sequence * width + first, scale,
                         &seen[head * group], sums + first);
        }
        for (int64_t head = 0; now->ends && head < heads; head++) {
            float sum = 0;
            for (int lane = 0; lane < LANES; lane++) sum += seen[head].shares[lane];
            for (int64_t at = head * dims; at < (head + 1) * dims; at += LANES) {
                store(sums + at, load<Floats>(sums + at) / sum);
            }
        }
    }
}

}  // namespace countersign
