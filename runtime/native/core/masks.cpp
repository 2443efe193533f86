#include "masks.hpp"

#include <algorithm>
#include <vector>

namespace argus {
namespace {

struct Range {
    int begin, end;
};

/// The targets that read one of the samples in `sources`.
Range readers(const Bilinear& line, Range sources) {
    const auto before = [](int sample, int limit) { return sample < limit; };
    const auto begin = std::lower_bound(line.high.begin(), line.high.end(), sources.begin, before);
    const auto end = std::lower_bound(line.low.begin(), line.low.end(), sources.end, before);
    return {static_cast<int>(begin - line.high.begin()), static_cast<int>(end - line.low.begin())};
}

/// The rows and the columns of a map that hold positive numbers; both empty where it has none.
void find_positive(const float* map, const MapToImage& way, Range& rows, Range& columns) {
    const int height = way.input_rows.source_size;
    const int width = way.input_columns.source_size;
    rows = {height, 0};
    columns = {width, 0};
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x, ++map) {
            if (*map > 0) {
                rows = {std::min(rows.begin, y), y + 1};
                columns = {std::min(columns.begin, x), std::max(columns.end, x + 1)};
            }
        }
    }
}

/// Writes 1 where a line, resized, is positive. Between two samples of one sign nothing has to be computed,
/// and beyond `range` none is positive. Returns how many.
std::int64_t fill_row(const float* line, Range range, const Bilinear& columns, std::uint8_t* mask) {
    const auto start = [&](int sample) { return columns.start[static_cast<std::size_t>(sample)]; };
    const int last = columns.source_size - 1;
    std::int64_t area = 0;
    const auto fill_between = [&](int sample) {
        for (int x = start(sample); x < start(sample + 1); ++x) {
            const float value =
                between(line[sample], line[sample + 1], columns.part[static_cast<std::size_t>(x)]);
            mask[x] = value > 0;
            area += mask[x];
        }
    };
    for (int sample = range.begin; sample < range.end; ++sample) {
        if (line[sample] <= 0) {
            if (sample + 1 < range.end && line[sample + 1] > 0) {
                fill_between(sample);
            }
            continue;
        }
        const int first = start(sample);
        while (sample + 1 < range.end && line[sample + 1] > 0) {
            ++sample;
        }
        const int end = start(sample == last ? sample + 1 : sample);
        std::fill(mask + first, mask + end, std::uint8_t{1});
        area += end - first;
        if (sample != last) {
            fill_between(sample);
        }
    }
    return area;
}

}  // namespace

std::int64_t mask_to_image(const float* logits, const MapToImage& way, std::uint8_t* mask) {
    Range rows, columns;
    find_positive(logits, way, rows, columns);
    // One column more to both sides: where a line changes its sign, it does so inside.
    const Range found = readers(way.input_columns, columns);
    const Range across{std::max(found.begin - 1, 0), std::min(found.end + 1, way.image_columns.source_size)};
    Range down = readers(way.input_rows, rows);
    down.end = std::min(down.end, way.image_rows.source_size);
    if (rows.begin >= rows.end || across.begin >= across.end || down.begin >= down.end) {
        return 0;
    }

    InputRows input(logits, way, across.begin, across.end);
    std::vector<float> line(static_cast<std::size_t>(way.image_columns.source_size));
    std::int64_t area = 0;
    const Range seen = readers(way.image_rows, down);
    for (int y = seen.begin; y < seen.end; ++y) {
        const auto row = static_cast<std::size_t>(y);
        const float* low = input.row(way.image_rows.low[row]) + across.begin;
        const float* high = input.row(way.image_rows.high[row]) + across.begin;
        mix_rows(low, high, way.image_rows.part[row], static_cast<std::size_t>(across.end - across.begin),
                 line.data() + across.begin);
        area += fill_row(line.data(), across, way.image_columns,
                         mask + static_cast<std::ptrdiff_t>(y) * way.image_columns.target_size);
    }
    return area;
}

}  // namespace argus
