#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace argus {

/// BT.601 in limited range to RGB: Y from 16 to 235, U and V from 16 to 240 about 128, one U and V for two
/// neighbouring pixels. Levels are within one of OpenCV's.
class YuvConverter {
  public:
    explicit YuvConverter(std::size_t width) : red_(width), green_(width), blue_(width) {}

    /// Take the row of U and V, alternating (width,), that the next pixels have.
    void set_chroma(const std::uint8_t* chroma);

    /// Y (width,) -> (3, width): the levels of red, then those of green, then those of blue.
    void convert(const std::uint8_t* luma, std::uint8_t* levels) const;

  private:
    std::vector<std::int16_t> red_, green_, blue_;  // (width,) what U and V add, in 1/32 of a level
};

}  // namespace argus
