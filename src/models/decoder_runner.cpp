#include "models/decoder_runner.h"

#include <algorithm>
#include <array>

#include "models/row.h"

namespace varve {

DecoderRunner::DecoderRunner(const DecoderConfig& config, const DecoderWeights& weights,
                             ArenaBuilder& arena, Exec& exec)
    : exec_(exec),
      weights_(weights),
      hidden_size_(config.hidden_size),
      head_x_(arena.take<float>("scratch", at(kMaxLogitRows, hidden_size_))) {}

void DecoderRunner::keep_newest(const Batch& batch) {
  for (const Segment& segment : batch.segments) {
    std::copy_n(hidden_ + at(segment.first + segment.n - 1, hidden_size_), hidden_size_,
                segment.sequence->hidden());
  }
}

void DecoderRunner::logits_of_newest(const Sequence& sequence, float* out) {
  const PartTimer timer(times_, Part::head);
  exec_.linear(weights_.head, sequence.hidden(), 1, out);
}

void DecoderRunner::logits(std::span<const int32_t> rows, float* out) {
  const PartTimer timer(times_, Part::head);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(hidden_ + at(rows[i], hidden_size_), hidden_size_,
                head_x_ + at(static_cast<int>(i), hidden_size_));
  }
  exec_.linear(weights_.head, head_x_, static_cast<int>(rows.size()), out);
}

SingleStreamRunner::SingleStreamRunner(const DecoderConfig& config, const DecoderWeights& weights,
                                       const Rope& rope, int mlp_dim, ArenaBuilder& arena,
                                       Exec& exec, int max_tokens)
    : DecoderRunner(config, weights, arena, exec), config_(config), weights_(weights), rope_(rope) {
  const auto floats = [&](int width) {
    return arena.take<float>("scratch", at(max_tokens, width));
  };
  stream_ = floats(config.hidden_size);
  x_ = floats(config.hidden_size);
  y_ = floats(config.hidden_size);
  cos_ = floats(rope.rope_dim() / 2);
  sin_ = floats(rope.rope_dim() / 2);
  gate_ = floats(mlp_dim);
  up_ = floats(mlp_dim);
  hidden_ = x_;
}

void SingleStreamRunner::embed(const Batch& batch) {
  const PartTimer timer(times_, Part::embed);
  const int d = config_.hidden_size;
  exec_.parallel(static_cast<int>(batch.ids.size()), [&](int t, int) {
    decode_row(weights_.embed, batch.ids[static_cast<size_t>(t)],
               {stream_ + at(t, d), static_cast<size_t>(d)});
  });
  const int half = rope_.rope_dim() / 2;
  for (const Segment& segment : batch.segments) {
    exec_.parallel(segment.n, [&](int t, int) {
      const size_t row = at(segment.first + t, half);
      rope_.angles(segment.start + t, cos_ + row, sin_ + row);
    });
  }
}

void SingleStreamRunner::norm(int n, const std::vector<float>& weight) {
  const PartTimer timer(times_, Part::mlp);
  const int d = config_.hidden_size;
  exec_.parallel(n, [&](int t, int) {
    exec_.ops().rms_norm(stream_ + at(t, d), weight.data(), d, config_.rms_eps, x_ + at(t, d));
  });
}

void SingleStreamRunner::add(int n) {
  const PartTimer timer(times_, Part::mlp);
  const int d = config_.hidden_size;
  exec_.parallel(n, [&](int t, int) { exec_.ops().add(stream_ + at(t, d), y_ + at(t, d), d); });
}

void SingleStreamRunner::mlp(int n, const ExpertWeights& w, const MlpBiases& biases) {
  const PartTimer timer(times_, Part::mlp);
  const Kernels& op = exec_.ops();
  const int d = config_.hidden_size, width = w.gate.n_rows;
  const auto job = [&](const Weight& weight, float* y) {
    return LinearJob{&weight, x_, static_cast<size_t>(d), n, y, static_cast<size_t>(width)};
  };
  const std::array<LinearJob, 2> jobs = {job(w.gate, gate_), job(w.up, up_)};
  exec_.linear(jobs);
  exec_.parallel(n, [&](int t, int) {
    float* const gate = gate_ + at(t, width);
    float* const up = up_ + at(t, width);
    if (!biases.gate.empty()) op.add(gate, biases.gate.data(), width);
    if (!biases.up.empty()) op.add(up, biases.up.data(), width);
    op.swiglu(gate, up, width, 0, 1, gate);
  });
  exec_.linear(w.down, gate_, n, y_);
  if (biases.down.empty()) return;
  exec_.parallel(n, [&](int t, int) { op.add(y_ + at(t, d), biases.down.data(), d); });
}

void SingleStreamRunner::finish(const Batch& batch) {
  norm(static_cast<int>(batch.ids.size()), weights_.norm);
  keep_newest(batch);
}

}  // namespace varve
