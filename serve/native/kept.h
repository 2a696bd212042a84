// What is made of a weight once and kept between calls.

#pragma once

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "ort.h"

namespace graphstill {

template <class Made, class Number>
class Kept {
 public:
  // Returns make(given), which is called again where the weight is not that of the first call.
  template <class Make>
  const Made& of(const Tensor<const Number>& given, std::unique_ptr<Made>& other, const Make& make) {
    std::call_once(once_, [&] {
      made_ = std::make_unique<Made>(make(given));
      weight_.assign(given.data, given.data + given.size());
    });
    const bool same = (int64_t)weight_.size() == given.size() &&
                      std::memcmp(weight_.data(), given.data, weight_.size() * sizeof(Number)) == 0;
    if (same) return *made_;
    other = std::make_unique<Made>(make(given));
    return *other;
  }

 private:
  std::once_flag once_;
  std::vector<Number> weight_;  // what it was made of
  std::unique_ptr<Made> made_;
};

}  // namespace graphstill
