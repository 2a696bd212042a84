// Rows of a CSR graph, cut into blocks of about equal work.
//
// Where the cuts lie depends on the graph alone: what is summed block by block has the same bits at
// any number of threads.

#pragma once

#include <algorithm>
#include <cstdint>

namespace graphstill {

class Blocks {
 public:
  Blocks(const int64_t* rowptr, int64_t rows)
      : rowptr_(rowptr), rows_(rows), work_(rowptr[rows] + rows),
        count_(std::clamp<int64_t>(work_ / kBlockWork, 1, kMaxBlocks)) {}

  int64_t count() const { return count_; }

  // Calls body(begin, end) with the rows of one block.
  template <class Body>
  void run(int64_t block, const Body& body) const {
    body(first_row(work_ * block / count_),
         block + 1 == count_ ? rows_ : first_row(work_ * (block + 1) / count_));
  }

 private:
  static constexpr int64_t kBlockWork = 8192;  // edges and rows
  static constexpr int64_t kMaxBlocks = 512;

  // The first row before which at least `work` edges and rows lie.
  int64_t first_row(int64_t work) const {
    int64_t low = 0, high = rows_;
    while (low < high) {
      int64_t middle = (low + high) / 2;
      if (rowptr_[middle] + middle < work) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  const int64_t* rowptr_;
  int64_t rows_;
  int64_t work_;
  int64_t count_;
};

}  // namespace graphstill
