#include "chat/jinja/split.h"

#include <algorithm>

#include "chat/jinja/text.h"
#include "tokenizer/utf8.h"

namespace varve::jinja {
namespace {

// A part that becomes a value of its own, and its place in lists.
constexpr size_t kPartBytes = kValueBytes + 64;

bool starts_with_space(std::string_view text) {
  return is_space(utf8_step(text).code_point);
}

// Bytes of the line end that `text` begins with; 0 where it begins with none.
size_t line_end_bytes(std::string_view text) {
  if (text.starts_with("\r\n")) return 2;
  const Utf8Step step = utf8_step(text);
  const uint32_t c = step.code_point;
  const bool ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                    c == 0x2028 || c == 0x2029;
  return ends ? step.n_bytes : 0;
}

Result<Parts> split_at_spaces(std::string_view text, int64_t max_splits, Budget& budget) {
  Parts parts;
  text = strip(text, std::nullopt, Side::left);
  while (!text.empty()) {
    VARVE_CHECKED(budget.make_bytes(kPartBytes));
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(text);  // as it stands, white space at its end too
      break;
    }
    size_t n = 0;
    while (n < text.size() && !starts_with_space(text.substr(n))) {
      n += utf8_step(text.substr(n)).n_bytes;
    }
    parts.push_back(text.substr(0, n));
    text = strip(text.substr(n), std::nullopt, Side::left);
  }
  return parts;
}

Result<Parts> rsplit_at_spaces(std::string_view text, int64_t max_splits, Budget& budget) {
  Parts parts;
  text = strip(text, std::nullopt, Side::right);
  while (!text.empty()) {
    VARVE_CHECKED(budget.make_bytes(kPartBytes));
    if (static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(text);
      break;
    }
    size_t n = text.size();
    while (n > 0) {
      const std::string_view last = last_character(text.substr(0, n));
      if (starts_with_space(last)) break;
      n -= last.size();
    }
    parts.push_back(text.substr(n));
    text = strip(text.substr(0, n), std::nullopt, Side::right);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

Result<Parts> split(std::string_view text, std::optional<std::string_view> separator,
                    int64_t max_splits, Budget& budget) {
  VARVE_CHECKED(budget.take_bytes(text.size()));
  if (!separator) return split_at_spaces(text, max_splits, budget);
  Parts parts;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    VARVE_CHECKED(budget.make_bytes(kPartBytes));
    const size_t at = find_text(text, *separator);
    if (at == text.npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator->size());
  }
  parts.push_back(text);
  return parts;
}

Result<Parts> rsplit(std::string_view text, std::optional<std::string_view> separator,
                     int64_t max_splits, Budget& budget) {
  VARVE_CHECKED(budget.take_bytes(text.size()));
  if (!separator && max_splits < 0) return split_at_spaces(text, max_splits, budget);
  if (!separator) return rsplit_at_spaces(text, max_splits, budget);
  VARVE_CHECKED(budget.take_product(text.size(), separator->size()));
  Parts parts;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    VARVE_CHECKED(budget.make_bytes(kPartBytes));
    const size_t at = text.rfind(*separator);
    if (at == text.npos) break;
    parts.push_back(text.substr(at + separator->size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Result<Parts> split_lines(std::string_view text, bool keep_ends, Budget& budget) {
  VARVE_CHECKED(budget.take_bytes(text.size()));
  Parts lines;
  size_t begin = 0;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end_bytes = line_end_bytes(text.substr(at));
    if (end_bytes == 0) {
      at += utf8_step(text.substr(at)).n_bytes;
      continue;
    }
    VARVE_CHECKED(budget.make_bytes(kPartBytes));
    lines.push_back(text.substr(begin, at - begin + (keep_ends ? end_bytes : 0)));
    at += end_bytes;
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

Result<std::string> replace(std::string_view text, std::string_view from, std::string_view to,
                            int64_t count, Budget& budget) {
  VARVE_CHECKED(budget.take_bytes(text.size()));
  std::string out;
  size_t begin = 0;
  size_t at = 0;
  for (int64_t n = 0; count < 0 || n < count; ++n) {
    const size_t found = find_text(text, from, at);
    if (found == text.npos) break;
    VARVE_CHECKED(budget.make_bytes(16 + to.size()));
    out += text.substr(begin, found - begin);
    out += to;
    begin = found + from.size();
    at = begin;
    if (!from.empty()) continue;
    // Nothing stands between any two characters, and at both ends.
    if (begin == text.size()) break;
    at += utf8_step(text.substr(begin)).n_bytes;
  }
  out += text.substr(begin);
  return out;
}

Result<Value> texts(const Parts& parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(Value::text(std::string(part)));
  return make_list(std::move(items));
}

}  // namespace varve::jinja
