// csr: sorts an edge list by destination, stably, by counting.
//
// Edges that are sorted already are recognised in one pass and only copied. Ids are checked while
// they are counted, so a wrong one is an error that names its edge and never a stray read.

#include <algorithm>
#include <atomic>
#include <limits>

#include "kernels.h"

namespace graphstill {
namespace {

struct Edges {
  const int64_t* src;
  const int64_t* dst;
  int64_t count;
  int64_t num_src;
  int64_t num_dst;
};

// Edges cut into equal runs, one for each task of the thread pool.
struct Runs {
  int64_t edges;
  int64_t count;

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
  void check(const Edges& edges) const {
    const int64_t edge = edge_.load();
    if (edge == kNone) return;
    const bool source = edges.src[edge] < 0 || edges.src[edge] >= edges.num_src;
    throw std::invalid_argument(
        "edge " + std::to_string(edge) + " names " + (source ? "source " : "destination ") +
        std::to_string(source ? edges.src[edge] : edges.dst[edge]) + ", ids must lie in [0, " +
        std::to_string(source ? edges.num_src : edges.num_dst) + ")");
  }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> edge_{kNone};
};

bool in_range(int64_t id, int64_t limit) { return (uint64_t)id < (uint64_t)limit; }

bool is_sorted(const Context& context, const Edges& edges, const Runs& runs) {
  std::atomic<bool> sorted{true};
  context.parallel_for(runs.count, [&](size_t run) {
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

void copy_sorted(const Context& context, const Edges& edges, const Runs& runs, int64_t* rowptr,
                 int32_t* col, int64_t* perm) {
  FirstBadEdge bad;
  // sorted: the first and the last destination bound all others
  if (edges.count > 0 && !in_range(edges.dst[0], edges.num_dst)) bad.report(0);
  if (edges.count > 0 && !in_range(edges.dst[edges.count - 1], edges.num_dst)) {
    int64_t edge = edges.count - 1;
    while (edge > 0 && !in_range(edges.dst[edge - 1], edges.num_dst)) --edge;
    bad.report(edge);
  }
  bad.check(edges);
  context.parallel_for(runs.count, [&](size_t run) {
    for (int64_t edge = runs.begin(run); edge < runs.end(run); ++edge) {
      if (!in_range(edges.src[edge], edges.num_src)) return bad.report(edge);
      // an edge fills the entries of every row between its predecessor's and its own
      for (int64_t row = edge ? edges.dst[edge - 1] + 1 : 0; row <= edges.dst[edge]; ++row)
        rowptr[row] = edge;
      col[edge] = (int32_t)edges.src[edge];
      if (perm) perm[edge] = edge;
    }
  });
  bad.check(edges);
  const int64_t last = edges.count ? edges.dst[edges.count - 1] + 1 : 0;
  for (int64_t row = last; row <= edges.num_dst; ++row) rowptr[row] = edges.count;
}

void counting_sort(const Context& context, const Edges& edges, const Runs& runs, int64_t* rowptr,
                   int32_t* col, int64_t* perm) {
  const int64_t rows = edges.num_dst;
  FirstBadEdge bad;
  std::vector<int64_t> next(runs.count * rows);  // next[run][row]: first counts, then positions
  context.parallel_for(runs.count, [&](size_t run) {
    int64_t* count = next.data() + run * rows;
    for (int64_t edge = runs.begin(run); edge < runs.end(run); ++edge) {
      if (!in_range(edges.dst[edge], rows) || !in_range(edges.src[edge], edges.num_src))
        return bad.report(edge);
      ++count[edges.dst[edge]];
    }
  });
  bad.check(edges);
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
  context.parallel_for(runs.count, [&](size_t run) {
    int64_t* place = next.data() + run * rows;
    for (int64_t edge = runs.begin(run); edge < runs.end(run); ++edge) {
      const int64_t at = place[edges.dst[edge]]++;
      col[at] = (int32_t)edges.src[edge];
      if (perm) perm[at] = edge;
    }
  });
}

}  // namespace

void Csr::compute(const Context& context) const {
  const auto edge_index = context.input<int64_t>(0);
  const auto num_src = context.input<int64_t>(1);
  const auto num_dst = context.input<int64_t>(2);
  require(edge_index.shape.size() == 2 && edge_index.shape[0] == 2,
          "edge_index must have the shape [2, num_edges]");
  const int64_t count = edge_index.shape[1];
  const Edges edges{edge_index.data, edge_index.data + count, count, *num_src.data, *num_dst.data};
  require(edges.num_src >= 0 && edges.num_dst >= 0, "the number of nodes must not be negative");
  require(edges.num_src <= std::numeric_limits<int32_t>::max(), "source ids must fit into int32");
  // a run needs a counter for every row: more runs only where edges outnumber rows
  const Runs runs{count, std::clamp<int64_t>(count / std::max<int64_t>(2 * edges.num_dst, 65536),
                                             1, 8)};
  int64_t* rowptr = context.output<int64_t>(0, {edges.num_dst + 1});
  int32_t* col = context.output<int32_t>(1, {count});
  int64_t* perm = context.output<int64_t>(2, {count});
  auto sort = is_sorted(context, edges, runs) ? copy_sorted : counting_sort;
  sort(context, edges, runs, rowptr, col, perm);
}

}  // namespace graphstill
