// relational_csr: pairs of a relation and a destination, which R-GCN averages over.
//
// Edges come in CSR order and are sorted, stably, by relation; a pair is a run of them with one
// destination. Pairs are then sorted by destination. Both sorts are csr's.

#include "../../kernels/native/csr.h"
#include "kernels.h"
#include "rows.h"

namespace graphstill {
namespace {

// Where pairs begin among edges sorted by relation, counted and then written by runs of positions.
class Pairs {
 public:
  Pairs(const int64_t* relation, const std::vector<int64_t>& order, const std::vector<int32_t>& row)
      : relation_(relation), order_(order), row_(row), before_(kRuns + 1) {}

  template <class Parallel>
  int64_t count(const Parallel& parallel) {
    parallel(kRuns, [&](size_t run) {
      int64_t found = 0;
      for (int64_t at = begin(run); at < begin(run + 1); ++at) found += starts(at);
      before_[run + 1] = found;
    });
    for (int run = 0; run < kRuns; ++run) before_[run + 1] += before_[run];
    return before_[kRuns];
  }

  // Calls write(position, pair, whether the pair begins there) for all positions.
  template <class Parallel, class Write>
  void each(const Parallel& parallel, const Write& write) const {
    parallel(kRuns, [&](size_t run) {
      int64_t next = before_[run];
      for (int64_t at = begin(run); at < begin(run + 1); ++at) {
        const bool first = starts(at);
        next += first;
        write(at, next - 1, first);
      }
    });
  }

 private:
  static constexpr int kRuns = 16;

  int64_t begin(size_t run) const { return (int64_t)order_.size() * (int64_t)run / kRuns; }
  bool starts(int64_t at) const {
    if (at == 0) return true;
    const int64_t edge = order_[at], before = order_[at - 1];
    return relation_[edge] != relation_[before] || row_[edge] != row_[before];
  }

  const int64_t* relation_;
  const std::vector<int64_t>& order_;
  const std::vector<int32_t>& row_;
  std::vector<int64_t> before_;
};

}  // namespace

RelationalCsr::RelationalCsr(const Attributes& attributes)
    : relations_(attributes.integer("num_relations")) {}

void RelationalCsr::compute(const Context& context) const {
  const Rows rows(context.input<int64_t>(0), context.input<int32_t>(1));
  const auto relation = context.input<int64_t>(2);
  require(relation.size() == rows.edges, "edge_type needs one relation per edge");
  const auto parallel = [&](int64_t tasks, const auto& body) { context.parallel_for(tasks, body); };

  std::vector<int64_t> by_relation(relations_ + 1), order(rows.edges);
  std::vector<int32_t> row(rows.edges);
  const csr::Edges edges{relation.data, relation.data, rows.edges, relations_, relations_};
  const int64_t bad =
      csr::sort(parallel, edges, by_relation.data(), row.data(), order.data());  // row is scratch
  if (bad != csr::kNoEdge)
    throw std::invalid_argument("edge_type holds the relation " + std::to_string(relation.data[bad]) +
                                ", relations must lie in [0, " + std::to_string(relations_) + ")");
  rows.parallel_for(context, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t edge = rows.rowptr[i]; edge < rows.rowptr[i + 1]; ++edge) row[edge] = (int32_t)i;
  });

  Pairs pairs(relation.data, order, row);
  const int64_t count = pairs.count(parallel);
  int64_t* pair_rowptr = context.output<int64_t>(0, {count + 1});
  int32_t* pair_col = context.output<int32_t>(1, {rows.edges});
  int64_t* target_rowptr = context.output<int64_t>(2, {rows.count + 1});
  int32_t* target_col = context.output<int32_t>(3, {count});
  int64_t* sizes = context.output<int64_t>(4, {relations_});
  int64_t* pair_of = context.output<int64_t>(5, {rows.edges});
  std::vector<int64_t> ids(count), target(count);
  pairs.each(parallel, [&](int64_t at, int64_t pair, bool first) {
    const int64_t edge = order[at];
    pair_col[at] = rows.col[edge];
    if (pair_of) pair_of[edge] = pair;
    if (!first) return;
    pair_rowptr[pair] = at;
    ids[pair] = pair;
    target[pair] = row[edge];
  });
  pair_rowptr[count] = rows.edges;
  int64_t* begin = pair_rowptr;
  for (int64_t r = 0; r < relations_; ++r) {
    int64_t* end = std::lower_bound(begin, pair_rowptr + count, by_relation[r + 1]);
    sizes[r] = end - begin;
    begin = end;
  }
  csr::sort(parallel, csr::Edges{ids.data(), target.data(), count, count, rows.count}, target_rowptr,
            target_col, nullptr);
}

}  // namespace graphstill
