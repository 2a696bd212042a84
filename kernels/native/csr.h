// csr: sorts an edge list by destination, stably, by counting.
//
// Edges that are sorted already are recognised in one pass and only copied. Ids are checked while
// they are counted: a wrong one ends the sort and is answered with, and never a stray read.
//
// Parallel is whoever runs tasks: parallel(count, body) calls body(task) for each.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

namespace graphstill::csr {

struct Edges {
  const int64_t* src;
  const int64_t* dst;
  int64_t count;
  int64_t num_src;
  int64_t num_dst;
};

constexpr int64_t kNoEdge = std::numeric_limits<int64_t>::max();

// Edges cut into equal runs, one for each task of the thread pool.
struct Runs {
  int64_t edges;
  int64_t count;

  // a run needs a counter for every row: more runs only where edges outnumber rows
  explicit Runs(const Edges& all)
      : edges(all.count),
        count(std::clamp<int64_t>(all.count / std::max<int64_t>(2 * all.num_dst, 65536), 1, 8)) {}

  int64_t begin(size_t run) const { return edges * (int64_t)run / count; }
  int64_t end(size_t run) const { return edges * (int64_t)(run + 1) / count; }
};

// The first edge with an id out of range, over all runs.
class FirstBadEdge {
 public:
  void report(int64_t edge) {
    int64_t seen = edge_.load();
    while (edge < seen && !edge_.compare_exchange_weak(seen, edge)) {
    }
  }
  bool any() const { return edge_.load() != kNoEdge; }
  int64_t edge() const { return edge_.load(); }

 private:
  std::atomic<int64_t> edge_{kNoEdge};
};

inline bool in_range(int64_t id, int64_t limit) { return (uint64_t)id < (uint64_t)limit; }

template <class Parallel>
bool is_sorted(const Parallel& parallel, const Edges& edges, const Runs& runs) {
  std::atomic<bool> sorted{true};
  parallel(runs.count, [&](size_t run) {
    const int64_t first = std::max<int64_t>(runs.begin(run), 1);
    for (int64_t edge = first; edge < runs.end(run); ++edge) {
      if (edges.dst[edge] < edges.dst[edge - 1]) {
        sorted = false;
        return;
      }
    }
  });
  return sorted;
}

template <class Parallel>
int64_t copy_sorted(const Parallel& parallel, const Edges& edges, const Runs& runs,
                    int64_t* rowptr, int32_t* col, int64_t* perm) {
  FirstBadEdge bad;
  // sorted: the first and the last destination bound all others
  if (edges.count > 0 && !in_range(edges.dst[0], edges.num_dst)) bad.report(0);
  if (edges.count > 0 && !in_range(edges.dst[edges.count - 1], edges.num_dst)) {
    int64_t edge = edges.count - 1;
    while (edge > 0 && !in_range(edges.dst[edge - 1], edges.num_dst)) --edge;
    bad.report(edge);
  }
  if (bad.any()) return bad.edge();
  parallel(runs.count, [&](size_t run) {
    for (int64_t edge = runs.begin(run); edge < runs.end(run); ++edge) {
      if (!in_range(edges.src[edge], edges.num_src)) return bad.report(edge);
      // an edge fills the entries of every row between its predecessor's and its own
      for (int64_t row = edge ? edges.dst[edge - 1] + 1 : 0; row <= edges.dst[edge]; ++row)
        rowptr[row] = edge;
      col[edge] = (int32_t)edges.src[edge];
      if (perm) perm[edge] = edge;
    }
  });
  if (bad.any()) return bad.edge();
  const int64_t last = edges.count ? edges.dst[edges.count - 1] + 1 : 0;
  for (int64_t row = last; row <= edges.num_dst; ++row) rowptr[row] = edges.count;
  return kNoEdge;
}

template <class Parallel>
int64_t counting_sort(const Parallel& parallel, const Edges& edges, const Runs& runs,
                      int64_t* rowptr, int32_t* col, int64_t* perm) {
  const int64_t rows = edges.num_dst;
  FirstBadEdge bad;
  std::vector<int64_t> next(runs.count * rows);  // next[run][row]: first counts, then positions
  parallel(runs.count, [&](size_t run) {
    int64_t* count = next.data() + run * rows;
    for (int64_t edge = runs.begin(run); edge < runs.end(run); ++edge) {
      if (!in_range(edges.dst[edge], rows) || !in_range(edges.src[edge], edges.num_src))
        return bad.report(edge);
      ++count[edges.dst[edge]];
    }
  });
  if (bad.any()) return bad.edge();
  int64_t position = 0;
  for (int64_t row = 0; row < rows; ++row) {
    rowptr[row] = position;
    for (int64_t run = 0; run < runs.count; ++run) {
      const int64_t count = next[run * rows + row];
      next[run * rows + row] = position;
      position += count;
    }
  }
  rowptr[rows] = position;
  parallel(runs.count, [&](size_t run) {
    int64_t* place = next.data() + run * rows;
    for (int64_t edge = runs.begin(run); edge < runs.end(run); ++edge) {
      const int64_t at = place[edges.dst[edge]]++;
      col[at] = (int32_t)edges.src[edge];
      if (perm) perm[at] = edge;
    }
  });
  return kNoEdge;
}

// Returns the first edge with an id out of range, or kNoEdge; perm may be null.
template <class Parallel>
int64_t sort(const Parallel& parallel, const Edges& edges, int64_t* rowptr, int32_t* col,
             int64_t* perm) {
  const Runs runs(edges);
  return is_sorted(parallel, edges, runs) ? copy_sorted(parallel, edges, runs, rowptr, col, perm)
                                          : counting_sort(parallel, edges, runs, rowptr, col, perm);
}

}  // namespace graphstill::csr
