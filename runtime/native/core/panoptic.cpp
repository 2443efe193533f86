#include "panoptic.hpp"

#include <algorithm>
#include <cmath>

#include "vector_clones.hpp"

namespace argus {
namespace {

/// The claims in a cell lie between those at its corners, but for what rounding adds.
constexpr float kRounding = 1.0F + 1e-5F;

/// score x probability.
float claim(float score, float logit) { return score / (1.0F + std::exp(-logit)); }

/// The bounds of a cell's values are the least and the greatest of its four corners. Rows hold their last
/// number twice.
ARGUS_VECTOR_CLONES
void bound_cells(const float* upper, const float* lower, std::size_t cells, float* least, float* greatest) {
    const auto smaller = [](float a, float b) { return a < b ? a : b; };
    const auto larger = [](float a, float b) { return a > b ? a : b; };
    for (std::size_t i = 0; i < cells; ++i) {
        least[i] = smaller(smaller(upper[i], upper[i + 1]), smaller(lower[i], lower[i + 1]));
        greatest[i] = larger(larger(upper[i], upper[i + 1]), larger(lower[i], lower[i + 1]));
    }
}

/// One that competes, in the band of the image between two rows of the network's input.
class Rival {
  public:
    Rival(const Contender& contender, const MapToImage& way)
        : score_(contender.score), input_(contender.logits, way, 0, way.image_columns.source_size) {
        const auto cells = static_cast<std::size_t>(way.image_columns.source_size);
        for (std::vector<float>* row : {&logits_[0], &logits_[1], &claims_[0], &claims_[1]}) {
            row->resize(cells + 1);
        }
        for (std::vector<float>* row : {&least, &greatest, &least_logit, &greatest_logit}) {
            row->resize(cells);
        }
    }

    void enter(int upper, int lower) {
        upper_ = hold(upper);
        lower_ = hold(lower);
        bound_cells(claims_[upper_].data(), claims_[lower_].data(), least.size(), least.data(),
                    greatest.data());
        bound_cells(logits_[upper_].data(), logits_[lower_].data(), least.size(), least_logit.data(),
                    greatest_logit.data());
    }

    /// The logit `down` and `right` of the way across a cell.
    float logit(std::size_t cell, float down, float right) const {
        const float* upper = logits_[upper_].data() + cell;
        const float* lower = logits_[lower_].data() + cell;
        return between(between(upper[0], lower[0], down), between(upper[1], lower[1], down), right);
    }

    float claim(float logit) const { return argus::claim(score_, logit); }

    std::vector<float> least, greatest;              // claim of each cell
    std::vector<float> least_logit, greatest_logit;  // likewise
    Shares shares;

  private:
    std::size_t hold(int row) {
        const auto slot = static_cast<std::size_t>(row % 2);
        if (held_[slot] != row) {
            held_[slot] = row;
            const float* values = input_.row(row);
            std::copy(values, values + least.size(), logits_[slot].begin());
            logits_[slot].back() = logits_[slot][least.size() - 1];
            std::transform(logits_[slot].begin(), logits_[slot].end(), claims_[slot].begin(),
                           [this](float logit) { return claim(logit); });
        }
        return slot;
    }

    float score_;
    InputRows input_;
    int held_[2] = {-1, -1};
    std::size_t upper_ = 0, lower_ = 0;         // slot of the row above the band and of that below
    std::vector<float> logits_[2], claims_[2];  // of the rows held
};

/// The pixels of the image in one cell.
struct Pixels {
    int top, bottom, left, right;

    std::int64_t count() const { return static_cast<std::int64_t>(bottom - top) * (right - left); }
};

class Contest {
  public:
    Contest(const std::vector<Contender>& contenders, const MapToImage& way, std::int32_t* winners)
        : way_(way), winners_(winners), bound_(static_cast<std::size_t>(way.image_columns.source_size)) {
        for (const Contender& contender : contenders) {
            rivals_.emplace_back(contender, way);
        }
    }

    std::vector<Shares> run() {
        const Bilinear& rows = way_.image_rows;
        for (int row = 0; row < rows.source_size; ++row) {
            const auto index = static_cast<std::size_t>(row);
            if (rows.start[index] < rows.start[index + 1]) {
                run_band(row, rows.start[index], rows.start[index + 1]);
            }
        }
        std::vector<Shares> shares;
        for (const Rival& rival : rivals_) {
            shares.push_back(rival.shares);
        }
        return shares;
    }

  private:
    void run_band(int row, int top, int bottom) {
        std::fill(bound_.begin(), bound_.end(), 0.0F);
        for (Rival& rival : rivals_) {
            rival.enter(row, std::min(row + 1, way_.image_rows.source_size - 1));
            for (std::size_t cell = 0; cell < bound_.size(); ++cell) {
                bound_[cell] = std::max(bound_[cell], rival.least[cell]);
            }
        }
        for (std::size_t cell = 0; cell < bound_.size(); ++cell) {
            const std::vector<int>& start = way_.image_columns.start;
            if (start[cell] < start[cell + 1]) {
                run_cell(cell, {top, bottom, start[cell], start[cell + 1]});
            }
        }
    }

    void run_cell(std::size_t cell, const Pixels& pixels) {
        able_.clear();
        for (std::size_t place = 0; place < rivals_.size(); ++place) {
            Rival& rival = rivals_[place];
            if (rival.greatest[cell] * kRounding >= bound_[cell]) {
                able_.push_back(place);
            }
            if (rival.least_logit[cell] >= 0) {
                rival.shares.area += pixels.count();
            } else if (rival.greatest_logit[cell] >= 0) {
                for_each(pixels, [&](std::size_t, float down, float right) {
                    rival.shares.area += rival.logit(cell, down, right) >= 0;
                });
            }
        }
        const Rival& first = rivals_[able_.front()];
        const bool inside = first.least_logit[cell] >= 0;
        if (able_.size() > 1 || (!inside && first.greatest_logit[cell] >= 0)) {
            decide_each(cell, pixels);
        } else {
            give(pixels, able_.front(), inside);
        }
    }

    /// Pixel by pixel.
    void decide_each(std::size_t cell, const Pixels& pixels) {
        for_each(pixels, [&](std::size_t pixel, float down, float right) {
            std::size_t winner = able_.front();
            float best = -1;
            float logit = 0;
            for (const std::size_t place : able_) {
                const float its_logit = rivals_[place].logit(cell, down, right);
                const float its_claim = able_.size() > 1 ? rivals_[place].claim(its_logit) : 0;
                if (its_claim > best) {
                    winner = place;
                    best = its_claim;
                    logit = its_logit;
                }
            }
            record(winner, logit >= 0, 1);
            winners_[pixel] = sign(winner, logit >= 0);
        });
    }

    /// The whole cell to one.
    void give(const Pixels& pixels, std::size_t winner, bool inside) {
        record(winner, inside, pixels.count());
        for (int y = pixels.top; y < pixels.bottom; ++y) {
            std::int32_t* row = winners_ + static_cast<std::ptrdiff_t>(y) * way_.image_columns.target_size;
            std::fill(row + pixels.left, row + pixels.right, sign(winner, inside));
        }
    }

    void record(std::size_t winner, bool inside, std::int64_t count) {
        Shares& shares = rivals_[winner].shares;
        shares.won += count;
        shares.kept += inside ? count : 0;
    }

    static std::int32_t sign(std::size_t winner, bool inside) {
        const auto place = static_cast<std::int32_t>(winner) + 1;
        return inside ? place : -place;
    }

    /// Calls visit(pixel, down, right) with each one's index and its way across the cell.
    template <typename Visit>
    void for_each(const Pixels& pixels, Visit visit) const {
        for (int y = pixels.top; y < pixels.bottom; ++y) {
            const auto row = static_cast<std::size_t>(y);
            for (int x = pixels.left; x < pixels.right; ++x) {
                const auto column = static_cast<std::size_t>(x);
                visit(row * way_.image_columns.part.size() + column, way_.image_rows.part[row],
                      way_.image_columns.part[column]);
            }
        }
    }

    const MapToImage& way_;
    std::int32_t* winners_;
    std::vector<Rival> rivals_;
    std::vector<float> bound_;       // what the best of each cell claims at least
    std::vector<std::size_t> able_;  // rivals that could win in the cell
};

}  // namespace

std::vector<Shares> compete(const std::vector<Contender>& contenders, const MapToImage& way,
                            std::int32_t* winners) {
    if (contenders.empty()) {
        const auto pixels = way.image_rows.part.size() * way.image_columns.part.size();
        std::fill(winners, winners + pixels, 0);
        return {};
    }
    return Contest(contenders, way, winners).run();
}

}  // namespace argus
