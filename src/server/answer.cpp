#include "server/answer.h"

#include <chrono>
#include <random>

#include "tokenizer/utf8.h"

namespace varve::server {

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuv";
  std::random_device device;
  std::string id(prefix);
  for (int word = 0; word < 4; ++word) {
    uint32_t bits = device();
    for (int i = 0; i < 6; ++i, bits >>= 5) id += kLetters[bits & 31];
  }
  return id;
}

int64_t unix_time() {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch())
      .count();
}

std::string token_text(const Tokenizer& tokenizer, int32_t id) {
  std::string held;
  std::string text;
  append_lossy(tokenizer.piece(id), held, text);
  finish_lossy(held, text);
  return text;
}

}  // namespace varve::server
