// Blocks of rows, shared by threads: torch's own where its OpenMP is found, else new ones.

#pragma once

#include <dlfcn.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "blocks.h"

namespace graphstill {

// A fixed number of tasks; whoever calls run() takes the next one until none is left.
class Tasks {
 public:
  using Task = void (*)(const void* body, int64_t block);

  Tasks(int64_t count, Task task, const void* body) : count_(count), task_(task), body_(body) {}

  void run() noexcept {
    try {
      for (int64_t block; (block = next_.fetch_add(1)) < count_;) task_(body_, block);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      error_ = std::current_exception();
    }
  }

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const int64_t count_;
  const Task task_;
  const void* const body_;
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr error_;
};

// libgomp's entry point, which torch loads for everybody. A second pool beside its own would have
// to fight for the cores with threads that are still spinning.
using OpenMp = void (*)(void (*)(void*), void*, unsigned, unsigned);

inline OpenMp openmp() {
  static const OpenMp found = reinterpret_cast<OpenMp>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return found;
}

inline void run_on(int64_t threads, Tasks& tasks) {
  const auto entry = [](void* tasks) { static_cast<Tasks*>(tasks)->run(); };
  if (threads <= 1) {
    tasks.run();
  } else if (openmp()) {
    openmp()(entry, &tasks, (unsigned)threads, 0);
  } else {
    std::vector<std::thread> helpers;
    for (int64_t helper = 1; helper < threads; ++helper) helpers.emplace_back(entry, &tasks);
    tasks.run();
    for (auto& helper : helpers) helper.join();
  }
  tasks.rethrow();
}

// Calls body(task) for each of a number of tasks.
template <class Body>
void run_tasks(int64_t threads, int64_t count, const Body& body) {
  Tasks tasks(
      count, [](const void* body, int64_t task) { (*(const Body*)body)(task); }, &body);
  run_on(std::min(threads, count), tasks);
}

// Calls body(begin, end, block) for all blocks of rows.
template <class Body>
void parallel_for(int64_t threads, const Blocks& blocks, const Body& body) {
  run_tasks(threads, blocks.count(), [&](int64_t block) {
    blocks.run(block, [&](int64_t begin, int64_t end) { body(begin, end, block); });
  });
}

}  // namespace graphstill
