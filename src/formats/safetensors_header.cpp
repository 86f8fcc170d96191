#include "formats/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "formats/json_reader.h"
#include "formats/json_text.h"

namespace varve {
namespace {

using nlohmann::json;

struct PublishedType {
  std::string_view name;
  int bits;
};

constexpr std::array kPublished = {
    PublishedType{"F32", 32},        PublishedType{"BF16", 16},   PublishedType{"F16", 16},
    PublishedType{"F8_E4M3", 8},     PublishedType{"F8_E8M0", 8}, PublishedType{"I8", 8},
    PublishedType{"I32", 32},        PublishedType{"I64", 64},    PublishedType{"BOOL", 8},
    PublishedType{"U8", 8},          PublishedType{"I16", 16},    PublishedType{"U16", 16},
    PublishedType{"U32", 32},        PublishedType{"U64", 64},    PublishedType{"F64", 64},
    PublishedType{"C64", 64},        PublishedType{"F8_E5M2", 8}, PublishedType{"F8_E4M3FNUZ", 8},
    PublishedType{"F8_E5M2FNUZ", 8}, PublishedType{"F6_E2M3", 6}, PublishedType{"F6_E3M2", 6},
    PublishedType{"F4", 4},
};

struct Entry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<int64_t>> shape;
  std::optional<std::vector<int64_t>> offsets;
};

// Collects the entries while nlohmann::json reads the header, so that no document of 100,000 maps
// is built. Each handler returns false to stop, with `problem` set.
class HeaderReader final : public json::json_sax_t {
 public:
  std::vector<Entry> entries;
  Metadata metadata;
  std::string problem;  // the end of the sentence

  bool null() override { return scalar("null"); }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return integer(value, value < 0); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return scalar(fmt::format("{}", value));
    }
    return integer(static_cast<int64_t>(value), false);
  }
  bool number_float(number_float_t, const string_t& text) override {
    return scalar(in_quotes(text));
  }
  bool binary(binary_t&) override { return scalar("binary"); }

  bool string(string_t& value) override {
    if (skip_depth_ > 0) return true;
    if (place_ == Place::metadata) {
      const bool is_new = metadata.emplace(key_, std::move(value)).second;
      return is_new ||
             stop("`__metadata__`: expected each key once, found {} twice", in_quotes(key_));
    }
    if (place_ == Place::entry && key_ == "dtype") {
      if (entry().dtype) return twice();
      entry().dtype = std::move(value);
      return true;
    }
    return scalar(in_quotes(value));
  }

  bool start_object(size_t) override {
    if (skip_depth_ > 0) return skip_in();
    switch (place_) {
      case Place::outside:
        place_ = Place::root;
        return true;
      case Place::root:
        if (key_ == "__metadata__") {
          if (std::exchange(has_metadata_, true)) {
            return stop("expected `__metadata__` once, found it twice");
          }
          place_ = Place::metadata;
          return true;
        }
        entries.emplace_back().name = key_;
        place_ = Place::entry;
        return true;
      case Place::entry:
        if (!is_known_field()) return skip_in();
        [[fallthrough]];
      default:
        return scalar("an object");
    }
  }

  bool key(string_t& value) override {
    if (skip_depth_ == 0) key_ = std::move(value);
    return true;
  }

  bool end_object() override {
    if (skip_depth_ > 0) return skip_out();
    place_ = place_ == Place::root ? Place::outside : Place::root;
    return true;
  }

  bool start_array(size_t) override {
    if (skip_depth_ > 0) return skip_in();
    if (place_ != Place::entry) return scalar("an array");
    if (!is_known_field()) return skip_in();
    if (key_ == "dtype") return scalar("an array");
    auto& field = key_ == "shape" ? entry().shape : entry().offsets;
    if (field) return twice();
    numbers_ = &field.emplace();
    place_ = Place::numbers;
    return true;
  }

  bool end_array() override {
    if (skip_depth_ > 0) return skip_out();
    place_ = Place::entry;
    return true;
  }

  bool parse_error(size_t at_byte, const std::string&, const json::exception& error) override {
    return stop("expected a header in JSON, found {}", json_problem(error, at_byte));
  }

 private:
  enum class Place { outside, root, entry, numbers, metadata };

  Entry& entry() { return entries.back(); }
  bool is_known_field() const {
    return key_ == "dtype" || key_ == "shape" || key_ == "data_offsets";
  }

  template <class... Args>
  bool stop(fmt::format_string<Args...> format, Args&&... args) {
    problem = fmt::format(format, std::forward<Args>(args)...);
    return false;
  }

  bool twice() {
    return stop("tensor {}: expected `{}` once, found it twice", in_quotes(entry().name), key_);
  }

  // Unknown fields of an entry are passed over, as the reference does.
  bool skip_in() {
    if (++skip_depth_ <= kMaxJsonDepth) return true;
    return stop("tensor {}: expected fields nested at most {} deep, found deeper",
                in_quotes(entry().name), kMaxJsonDepth);
  }
  bool skip_out() {
    --skip_depth_;
    return true;
  }

  bool integer(int64_t value, bool negative) {
    if (skip_depth_ > 0 || place_ != Place::numbers || negative) {
      return scalar(fmt::format("{}", value));
    }
    numbers_->push_back(value);
    return true;
  }

  // A value that fits nowhere but in an unknown field.
  bool scalar(std::string_view found) {
    if (skip_depth_ > 0) return true;
    switch (place_) {
      case Place::outside:
        return stop("expected a header that is a JSON object, found {}", found);
      case Place::root:
        if (key_ == "__metadata__") {
          return stop("`__metadata__`: expected an object of strings, found {}", found);
        }
        return stop("tensor {}: expected an object, found {}", in_quotes(key_), found);
      case Place::metadata:
        return stop("`__metadata__`: expected a string for key {}, found {}", in_quotes(key_),
                    found);
      case Place::numbers:
        return stop("tensor {}: `{}`: expected integers from 0 to 2^63 - 1, found {}",
                    in_quotes(entry().name), key_, found);
      case Place::entry:
        break;
    }
    if (!is_known_field()) return true;
    return stop("tensor {}: `{}`: expected {}, found {}", in_quotes(entry().name), key_,
                key_ == "dtype" ? "a string" : "an array of integers", found);
  }

  Place place_ = Place::outside;
  std::string key_;
  std::vector<int64_t>* numbers_ = nullptr;
  int skip_depth_ = 0;
  bool has_metadata_ = false;
};

// Where a tensor lies, relative to the first byte of data.
struct Extent {
  int64_t begin;
  int64_t end;
  size_t entry;
};

Result<Extent> check_entry(const Entry& entry, int64_t data_bytes, const std::string& file) {
  const std::string name = in_quotes(entry.name);
  const char* const missing = !entry.dtype     ? "dtype"
                              : !entry.shape   ? "shape"
                              : !entry.offsets ? "data_offsets"
                                               : nullptr;
  if (missing != nullptr) {
    return bad_input("{}: tensor {}: expected `{}`, it is missing", file, name, missing);
  }
  const auto bits = safetensors_bits(*entry.dtype);
  if (!bits) {
    return bad_input("{}: tensor {}: `dtype`: expected one of {}, found {}", file, name,
                     readable_dtypes(), in_quotes(*entry.dtype));
  }
  if (entry.offsets->size() != 2) {
    return bad_input("{}: tensor {}: `data_offsets`: expected 2 integers, found {}", file, name,
                     entry.offsets->size());
  }
  const int64_t begin = (*entry.offsets)[0];
  const int64_t end = (*entry.offsets)[1];
  if (begin > end) {
    return bad_input("{}: tensor {}: `data_offsets`: expected begin <= end, found [{}, {}]", file,
                     name, begin, end);
  }
  if (end > data_bytes) {
    return bad_input(
        "{}: tensor {}: `data_offsets`: expected an end within the {} bytes of data, found {}",
        file, name, data_bytes, end);
  }
  const auto size = tensor_bytes(*entry.shape, *bits);
  if (!size) {
    return bad_input("{}: tensor {}: `shape`: expected whole bytes, fewer than 2^63, found {} {}",
                     file, name, *entry.dtype, shape_string(*entry.shape));
  }
  if (*size != end - begin) {
    return bad_input("{}: tensor {}: expected {} bytes for {} {}, found {} in `data_offsets`", file,
                     name, *size, *entry.dtype, shape_string(*entry.shape), end - begin);
  }
  return Extent{begin, end, 0};
}

// No overlap, no hole, nothing left over.
Result<void> check_cover(std::vector<Extent>& extents, const std::vector<Entry>& entries,
                         int64_t data_bytes, const std::string& file) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t at = 0;
  const Extent* previous = nullptr;
  for (const Extent& extent : extents) {
    if (extent.begin == at) {
      at = extent.end;
      previous = &extent;
      continue;
    }
    const std::string name = in_quotes(entries[extent.entry].name);
    if (extent.begin < at) {
      return bad_input("{}: tensor {}: expected data at byte {} or later, found it at {} inside {}",
                       file, name, at, extent.begin, in_quotes(entries[previous->entry].name));
    }
    return bad_input("{}: tensor {}: expected data at byte {}, found it at {} behind a hole", file,
                     name, at, extent.begin);
  }
  if (at != data_bytes) {
    return bad_input(
        "{}: expected the file to end with its last tensor{}, found {} bytes more", file,
        previous == nullptr ? "" : " " + in_quotes(entries[previous->entry].name), data_bytes - at);
  }
  return {};
}

Result<SafetensorsFile> collect(std::vector<Entry>& entries, std::span<const std::byte> data,
                                const std::string& file) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  const auto data_bytes = static_cast<int64_t>(data.size());
  std::vector<Extent> extents;
  extents.reserve(entries.size());
  SafetensorsFile out;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0 && entries[i].name == entries[i - 1].name) {
      return bad_input("{}: expected each tensor name once, found {} twice", file,
                       in_quotes(entries[i].name));
    }
    VARVE_TRY(Extent extent, check_entry(entries[i], data_bytes, file));
    extent.entry = i;
    extents.push_back(extent);
  }
  std::vector<Extent> by_place = extents;
  VARVE_CHECKED(check_cover(by_place, entries, data_bytes, file));
  for (const Extent& extent : extents) {
    Entry& entry = entries[extent.entry];
    const auto type = dtype_from_safetensors(*entry.dtype);
    if (!type) {
      out.unread.push_back({std::move(entry.name), std::move(*entry.dtype), file});
      continue;
    }
    TensorView view;
    view.name = std::move(entry.name);
    view.file = file;
    view.type = *type;
    view.shape = std::move(*entry.shape);
    view.bytes = data.subspan(static_cast<size_t>(extent.begin),
                              static_cast<size_t>(extent.end - extent.begin));
    out.tensors.push_back(std::move(view));
  }
  return out;
}

// One byte that need not be text: a printable ASCII letter, or its value.
std::string shown_byte(char c) {
  if (c >= 0x20 && c < 0x7f) return in_quotes({&c, 1});
  return fmt::format("byte 0x{:02x}", static_cast<unsigned char>(c));
}

constexpr size_t kLengthBytes = 8;

// The JSON between the length and the data.
Result<std::string_view> header_text(std::span<const std::byte> bytes, const std::string& file) {
  if (bytes.size() < kLengthBytes) {
    return bad_input("{}: expected at least {} bytes (the length of the header), found {}", file,
                     kLengthBytes, bytes.size());
  }
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    header_bytes |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  }
  if (header_bytes > kMaxHeaderBytes) {
    return bad_input("{}: expected a header of at most {} bytes, found a length of {}", file,
                     kMaxHeaderBytes, header_bytes);
  }
  if (header_bytes > bytes.size() - kLengthBytes) {
    return bad_input("{}: expected a header of {} bytes, found only {} bytes after its length",
                     file, header_bytes, bytes.size() - kLengthBytes);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data() + kLengthBytes),
                              header_bytes);
  if (!text.starts_with('{')) {
    return bad_input("{}: expected a header that starts with {{, found {}", file,
                     text.empty() ? "an empty one" : shown_byte(text[0]));
  }
  return text;
}

struct Header {
  std::vector<Entry> entries;
  Metadata metadata;
  size_t data_at = 0;  // in the file
};

Result<Header> read_header(std::span<const std::byte> bytes, const std::string& file) {
  VARVE_TRY(const std::string_view text, header_text(bytes, file));
  HeaderReader reader;
  if (!json::sax_parse(text.begin(), text.end(), &reader)) {
    return bad_input("{}: {}", file, reader.problem);
  }
  return Header{std::move(reader.entries), std::move(reader.metadata), kLengthBytes + text.size()};
}

Result<SafetensorsFile> parse(std::span<const std::byte> bytes, const std::string& file) {
  VARVE_TRY(Header header, read_header(bytes, file));
  VARVE_TRY(SafetensorsFile out, collect(header.entries, bytes.subspan(header.data_at), file));
  out.metadata = std::move(header.metadata);
  return out;
}

Result<uint64_t> file_bytes(std::span<const std::byte> bytes, const std::string& file) {
  VARVE_TRY(const Header header, read_header(bytes, file));
  int64_t data_bytes = 0;
  for (const Entry& entry : header.entries) {
    if (!entry.offsets || entry.offsets->empty()) continue;
    data_bytes = std::max(data_bytes, entry.offsets->back());
  }
  return header.data_at + static_cast<uint64_t>(data_bytes);
}

// What `read` gives; exceptions (of memory, of the JSON reader) end here.
template <class T>
Result<T> caught(Result<T> (*read)(std::span<const std::byte>, const std::string&),
                 std::span<const std::byte> bytes, const std::string& file) {
  try {
    return read(bytes, file);
  } catch (const std::exception& error) {
    return fail(ErrorKind::internal, "{}: cannot read the header: {}", file, error.what());
  }
}

}  // namespace

std::optional<int> safetensors_bits(std::string_view dtype) {
  for (const PublishedType& type : kPublished) {
    if (type.name == dtype) return type.bits;
  }
  return std::nullopt;
}

std::optional<int64_t> tensor_bytes(std::span<const int64_t> shape, int bits) {
  int64_t n = 1;
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(n, extent, &n)) return std::nullopt;
  }
  const bool whole = bits % 8 == 0;
  if (__builtin_mul_overflow(n, whole ? bits / 8 : bits, &n)) return std::nullopt;
  if (whole) return n;
  return n % 8 == 0 ? std::optional(n / 8) : std::nullopt;
}

std::string readable_dtypes() {
  std::string out;
  for (const PublishedType& type : kPublished) {
    if (!dtype_from_safetensors(type.name)) continue;
    if (!out.empty()) out += ", ";
    out += type.name;
  }
  return out;
}

Result<SafetensorsFile> parse_safetensors(std::span<const std::byte> bytes,
                                          const std::string& file) {
  return caught(parse, bytes, file);
}

Result<uint64_t> safetensors_file_bytes(std::span<const std::byte> bytes, const std::string& file) {
  return caught(file_bytes, bytes, file);
}

}  // namespace varve
