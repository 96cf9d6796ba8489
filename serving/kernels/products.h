// Products of few rows with matrices too large for a cache: a matrix is read once, from its first to its last byte.
//
// Every sum is made in an order that depends on its own row and matrix alone, not on how many rows there are.
// Several of a matrix's rows at once would be several streams of memory, which processors fetch half as fast.
#pragma once

#include <vector>

#include "lanes.h"

namespace countersign {

constexpr int ROWS = 4;   // of a matrix, whose sums are completed together
constexpr int TAKEN = 4;  // rows that are multiplied at once

struct FloatMatrix {
    static constexpr int TOGETHER = 1;  // of its rows are multiplied at once
    const float* values;  // [height, width]
    int64_t height, width;

    // What T rows make of R of the matrix's, from `row` on, before the lanes are added up.
    template <int R, int T>
    void multiply(int64_t row, const float* const* rows, Floats (*sums)[T]) const {
        static_assert(R == TOGETHER);
        const float* matrix = values + row * width;
        Floats even[T] = {}, odd[T] = {};
        int64_t at = 0;
        for (; at + 2 * LANES <= width; at += 2 * LANES) {
            const Floats one = load<Floats>(matrix + at), other = load<Floats>(matrix + at + LANES);
#pragma GCC unroll 4
            for (int t = 0; t < T; t++) {
                even[t] += one * load<Floats>(rows[t] + at);
                odd[t] += other * load<Floats>(rows[t] + at + LANES);
            }
        }
        for (; at < width; at += LANES) {
            const int64_t left = width - at < LANES ? width - at : LANES;
            const Floats one = some<Floats>(matrix + at, left * sizeof(float));
#pragma GCC unroll 4
            for (int t = 0; t < T; t++) even[t] += one * some<Floats>(rows[t] + at, left * sizeof(float));
        }
#pragma GCC unroll 4
        for (int t = 0; t < T; t++) (*sums)[t] = even[t] + odd[t];
    }

    int64_t row_floats() const { return 0; }  // rows are multiplied as they lie

    const float* prepared(const float* row, float*) const { return row; }
};

// Codes of 4 bits in groups along the width, as serving/experts/quantise.py has them: (code - 8) * scale + zero.
//
// A block is one vector of bytes, 8 codes a lane. A code is masked where it stands, so that it counts 16^i times too
// much; rows are prepared to count as much less, which is exact, and with 8 times their sum to be taken away.
struct Int4Matrix {
    static constexpr int TOGETHER = 2;  // unpacking takes longer than fetching, and both meet the same part of a row
    static constexpr int BLOCK = 8 * LANES, PREPARED = 9 * LANES;  // codes, and floats of a prepared row, a block

    const uint8_t* codes;    // [height, width / 2]: the first of two in the low half
    const uint16_t* scales;  // bf16 [height, groups, parts]
    int64_t height, width, groups, parts;  // parts 1: scales alone; 2: a zero behind each

    // Like FloatMatrix's, of rows that are prepared.
    template <int R, int T>
    void multiply(int64_t row, const float* const* rows, Floats (*sums)[T]) const {
        if (width / groups < BLOCK) {
            multiply_groups<R, T, true>(row, rows, sums);
        } else {
            multiply_groups<R, T, false>(row, rows, sums);
        }
    }

    template <int R, int T, bool SMALL>
    void multiply_groups(int64_t row, const float* const* rows, Floats (*sums)[T]) const {
        const int64_t bytes = width / 2, blocks = (width + BLOCK - 1) / BLOCK;
        const int shift = __builtin_ctzll(width / groups);
        const uint8_t* from = codes + row * bytes;
        const uint16_t* scale = scales + row * groups * parts;
        Floats found[R][T] = {};
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t at = block * sizeof(Ints), left = bytes - at, mine = block * PREPARED;
            Ints eights[R];
            Floats inside[R][T];
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) {
                const uint8_t* own = from + r * bytes + at;
                if (T <= 2) __builtin_prefetch(own + R * bytes);  // with more, adding takes longer than fetching
                eights[r] = left >= int64_t(sizeof(Ints)) ? load<Ints>(own) : some<Ints>(own, left);
#pragma GCC unroll 4
                for (int t = 0; t < T; t++) inside[r][t] = load<Floats>(rows[t] + mine + 8 * LANES);
            }
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) {
                    const Ints code = i < 7 ? eights[r] & (15 << 4 * i) : (eights[r] >> 28) & 15;
                    const Floats value = __builtin_convertvector(code, Floats);
#pragma GCC unroll 4
                    for (int t = 0; t < T; t++) inside[r][t] += value * load<Floats>(rows[t] + mine + i * LANES);
                }
            }
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) {
                const Floats factor = of_groups<SMALL>(scale + r * groups * parts, block, shift);
#pragma GCC unroll 4
                for (int t = 0; t < T; t++) found[r][t] += factor * inside[r][t];
                if (parts == 2) {
                    const Floats zero = of_groups<SMALL>(scale + r * groups * parts + 1, block, shift) * -0.125f;
#pragma GCC unroll 4
                    for (int t = 0; t < T; t++) found[r][t] += zero * load<Floats>(rows[t] + mine + 8 * LANES);
                }
            }
        }
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
            for (int t = 0; t < T; t++) sums[r][t] = found[r][t];
        }
    }

    // What stands at each lane of a block for its group of 2^shift codes; SMALL: several groups are in a block.
    template <bool SMALL>
    Floats of_groups(const uint16_t* from, int64_t block, int shift) const {
        const Floats none = {};
        const int64_t first = block * BLOCK >> shift;
        Floats found = none + wide(from[first * parts]);
        if (SMALL) {
            for (int64_t group = first + 1; group < groups && group < first + (BLOCK >> shift); group++) {
                const int32_t lane = (group - first) << shift >> 3;  // its first
                found = numbered() >= lane ? none + wide(from[group * parts]) : found;
            }
        }
        return found;
    }

    static float wide(uint16_t bf16) {
        const uint32_t bits = uint32_t(bf16) << 16;
        float found;
        std::memcpy(&found, &bits, sizeof found);
        return found;
    }

    int64_t row_floats() const { return (width + BLOCK - 1) / BLOCK * PREPARED; }

    const float* prepared(const float* row, float* to) const {
        static constexpr float SHARES[8] = {1.f,           1.f / 16,      1.f / 256,      1.f / 4096,
                                            1.f / 65536, 1.f / 1048576, 1.f / 16777216, 1.f};
        float* const first = to;
        for (int64_t at = 0; at < width; at += BLOCK, to += PREPARED) {
            const int64_t lanes = (width - at < BLOCK ? width - at : BLOCK) / 8;
            std::memset(to, 0, PREPARED * sizeof(float));
            for (int64_t lane = 0; lane < lanes; lane++) {
                const float* eight = row + at + 8 * lane;
                float sum = 0;
                for (int i = 0; i < 8; i++) {
                    to[i * LANES + lane] = eight[i] * SHARES[i];
                    sum += eight[i];
                }
                to[8 * LANES + lane] = -8 * sum;
            }
        }
        return first;
    }
};

template <int T, class Matrix>
inline void some_rows(const Matrix& matrix, int64_t first, int64_t count, const float* const* rows,
                      float* const* results) {
    Floats sums[ROWS][T];
    constexpr int R = Matrix::TOGETHER;
    for (int64_t row = 0; row < ROWS; row += R) {
        if (row + R <= count) {
            matrix.template multiply<R, T>(first + row, rows, sums + row);
        } else {
            for (int r = row; r < row + R; r++) {  // in place of those that are not there, another
                matrix.template multiply<1, T>(first + (r < count ? r : 0), rows, sums + r);
            }
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
        const Floats own[ROWS] = {sums[0][t], sums[1][t], sums[2][t], sums[3][t]};
        float found[ROWS];
        sums_of_four(own, found);
        if (count == ROWS) {
            std::memcpy(results[t] + first, found, sizeof found);
        } else {
            std::memcpy(results[t] + first, found, sizeof(float) * count);
        }
    }
}

// results[i][row of the matrix] of the rows, which are prepared for it.
template <class Matrix>
void product(const Matrix& matrix, const float* const* rows, float* const* results, int64_t taken) {
    for (int64_t first = 0; first < matrix.height; first += ROWS) {
        const int64_t count = matrix.height - first < ROWS ? matrix.height - first : ROWS;
        int64_t at = 0;
        for (; at + TAKEN <= taken; at += TAKEN) some_rows<TAKEN>(matrix, first, count, rows + at, results + at);
        if (taken - at == 3) some_rows<3>(matrix, first, count, rows + at, results + at);
        if (taken - at == 2) some_rows<2>(matrix, first, count, rows + at, results + at);
        if (taken - at == 1) some_rows<1>(matrix, first, count, rows + at, results + at);
    }
}

}  // namespace countersign
