// The k best of a stream of scores, in memory that follows k and not the stream.
#pragma once

#include <cstddef>
#include <cstdint>

namespace varve {

/// Scores arrive in ascending order of index. Most fall to one comparison with the k-th best so
/// far; the others gather until there are so many that keeping the k best of them pays. Equal
/// scores go to the lower index; a NaN has a place of its own in the order.
class TopK {
 public:
  /// Values of the room that start() takes.
  static size_t room(int k) { return 2 * static_cast<size_t>(k) + kSlack; }

  /// Begins anew, k >= 1. room: room(k) values, the caller's, until finish().
  void start(int k, uint64_t* room);

  /// scores[0, n) of the indices first, first + 1, ...
  void add(const float* scores, int n, int first);

  /// What another one gathered, of other indices; nothing is add()ed afterwards.
  void merge(const TopK& other);

  /// The indices of the best, ascending: min(k, all there were) of them. Returns how many.
  int finish(int32_t* picks);

 private:
  static constexpr size_t kSlack = 512;

  void push(uint64_t candidate);
  void shrink();

  size_t k_ = 0;
  uint64_t* candidates_ = nullptr;  // order of the score, then of the index: the larger the better
  size_t n_ = 0;
  int32_t threshold_ = 0;  // order of the k-th best score, once k are kept
  bool bounded_ = false;
};

}  // namespace varve
