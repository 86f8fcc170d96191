#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "formats/gguf_types.h"

namespace varve {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMinEntryBytes = 13;      // an empty key, a type, one byte
constexpr uint64_t kMinTensorBytes = 24;     // an empty name, no extents, type, offset
constexpr uint64_t kMaxAlignment = 1 << 20;  // bytes
static_assert(std::endian::native == std::endian::little, "values are read as they lie");

// Reads from the front; what runs out of bytes is an error that names the place.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  size_t at() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

  Result<std::span<const std::byte>> take(uint64_t n, std::string_view what) {
    if (n > left()) {
      return bad_input("{}: expected {} bytes for {} at byte {}, found only {}", file_, n, what,
                       at_, left());
    }
    const auto out = bytes_.subspan(at_, static_cast<size_t>(n));
    at_ += static_cast<size_t>(n);
    return out;
  }

  template <class T>
  Result<T> number(std::string_view what) {
    VARVE_TRY(const auto bytes, take(sizeof(T), what));
    T out;
    std::memcpy(&out, bytes.data(), sizeof out);
    return out;
  }

  Result<std::string_view> string(std::string_view what) {
    VARVE_TRY(const auto n, number<uint64_t>(what));
    VARVE_TRY(const auto bytes, take(n, what));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  /// A number of things that take at least `each_bytes` bytes of what is left.
  Result<uint64_t> count(std::string_view what, uint64_t each_bytes) {
    VARVE_TRY(const auto n, number<uint64_t>(what));
    if (n > left() / each_bytes) {
      return bad_input("{}: expected at most {} as {}, for the file has {} bytes more, found {}",
                       file_, left() / each_bytes, what, left(), n);
    }
    return n;
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  size_t at_ = 0;
};

// ---- metadata

class MetadataReader {
 public:
  MetadataReader(Cursor& cursor, const std::string& file) : cursor_(cursor), file_(file) {}

  Result<GgufMetadata> read(uint64_t n, uint32_t version) {
    std::vector<GgufMetadata::Entry> entries;
    entries.reserve(static_cast<size_t>(n));
    for (uint64_t i = 0; i < n; ++i) {
      GgufMetadata::Entry entry;
      VARVE_TRY(entry.key, cursor_.string("a metadata key"));
      what_ = fmt::format("the value of key {}", in_quotes(entry.key));
      VARVE_TRY(entry.value, value());
      entries.push_back(std::move(entry));
    }
    return GgufMetadata::create(file_, static_cast<int>(version), std::move(entries));
  }

 private:
  Result<GgufType> type() {
    VARVE_TRY(const auto id, cursor_.number<uint32_t>(what_));
    const auto type = gguf_type(id);
    if (!type) {
      return bad_input("{}: expected {} of a type from 0 to {}, found type {}", file_, what_,
                       static_cast<uint32_t>(GgufType::float64), id);
    }
    return *type;
  }

  Result<GgufValue> value() {
    GgufValue out;
    VARVE_TRY(out.type, type());
    if (out.type == GgufType::array) {
      out.is_array = true;
      VARVE_TRY(out.type, type());
      if (out.type == GgufType::array) {
        return bad_input("{}: expected {} as an array of plain values, found an array of arrays",
                         file_, what_);
      }
      const size_t least = out.type == GgufType::string ? 8 : gguf_type_bytes(out.type);
      VARVE_TRY(const uint64_t n,
                cursor_.count(fmt::format("the number of elements in {}", what_), least));
      out.n = static_cast<size_t>(n);
    }
    if (out.type == GgufType::string) {
      out.strings.reserve(out.n);
      for (size_t i = 0; i < out.n; ++i) {
        VARVE_TRY(const auto text, cursor_.string(what_));
        out.strings.push_back(text);
      }
      return out;
    }
    VARVE_TRY(out.bytes, cursor_.take(out.n * gguf_type_bytes(out.type), what_));
    if (out.type == GgufType::boolean) {
      for (const std::byte b : out.bytes) {
        if (b > std::byte{1}) {
          return bad_input("{}: expected {} as a BOOL of 0 or 1, found {}", file_, what_,
                           static_cast<int>(b));
        }
      }
    }
    return out;
  }

  Cursor& cursor_;
  const std::string& file_;
  std::string what_;  // for messages
};

Result<size_t> read_alignment(const GgufMetadata& metadata) {
  constexpr std::string_view kKey = "general.alignment";
  if (metadata.find(kKey) == nullptr) return size_t{kGgufAlignment};
  const auto found = metadata.integer(kKey, {1, kMaxAlignment});
  if (!found || !std::has_single_bit(static_cast<uint64_t>(*found))) {
    return metadata.wrong(kKey, fmt::format("a power of two up to {}", kMaxAlignment));
  }
  return static_cast<size_t>(*found);
}

// ---- tensors

struct Entry {
  std::string_view name;
  const GgufTensorType* type = nullptr;
  std::vector<int64_t> shape;  // outermost first
  uint64_t offset = 0;         // bytes from the first byte of data
  uint64_t bytes = 0;
};

// ne0, the extent of a row, comes first in the file.
Result<std::vector<int64_t>> read_shape(Cursor& cursor, const std::string& what,
                                        const std::string& file) {
  VARVE_TRY(const auto n_dims, cursor.number<uint32_t>(what));
  if (n_dims > kGgufMaxDims) {
    return bad_input("{}: {}: expected at most {} extents, found {}", file, what, kGgufMaxDims,
                     n_dims);
  }
  std::vector<int64_t> shape(n_dims);
  int64_t n_values = 1;
  for (uint32_t d = n_dims; d-- > 0;) {
    VARVE_TRY(const auto extent, cursor.number<uint64_t>(what));
    // A 0 among the extents must not hide that the others overflow.
    if (extent > static_cast<uint64_t>(INT64_MAX) ||
        __builtin_mul_overflow(n_values, std::max<int64_t>(1, static_cast<int64_t>(extent)),
                               &n_values)) {
      return bad_input("{}: {}: expected fewer than 2^63 values, found an extent of {} too many",
                       file, what, extent);
    }
    shape[d] = static_cast<int64_t>(extent);
  }
  return shape;
}

Result<uint64_t> tensor_bytes(const Entry& entry, const std::string& what,
                              const std::string& file) {
  const int64_t row = entry.shape.empty() ? 1 : entry.shape.back();
  if (row % entry.type->values != 0) {
    return bad_input("{}: {}: expected rows of whole blocks of {} values ({}), found rows of {}",
                     file, what, entry.type->values, entry.type->name, row);
  }
  int64_t n = 1;
  for (const int64_t extent : entry.shape) n *= extent;  // checked by read_shape
  if (__builtin_mul_overflow(n / entry.type->values, entry.type->bytes, &n)) {
    return bad_input("{}: {}: expected fewer than 2^63 bytes, found {} {}", file, what,
                     entry.type->name, shape_string(entry.shape));
  }
  return static_cast<uint64_t>(n);
}

Result<Entry> read_tensor(Cursor& cursor, size_t alignment, const std::string& file) {
  Entry out;
  VARVE_TRY(out.name, cursor.string("the name of a tensor"));
  const std::string what = fmt::format("tensor {}", in_quotes(out.name));
  VARVE_TRY(out.shape, read_shape(cursor, what, file));
  VARVE_TRY(const auto type, cursor.number<uint32_t>(what));
  VARVE_TRY(out.offset, cursor.number<uint64_t>(what));
  out.type = gguf_tensor_type(type);
  if (out.type == nullptr) {
    return bad_input("{}: {}: expected one of the types {}, found type number {}", file, what,
                     readable_gguf_types(), type);
  }
  if (out.offset % alignment != 0) {
    return bad_input("{}: {}: expected an offset that is a multiple of {}, found {}", file, what,
                     alignment, out.offset);
  }
  VARVE_TRY(out.bytes, tensor_bytes(out, what, file));
  return out;
}

Result<void> check_extents(const std::vector<Entry>& entries, size_t data_bytes,
                           const std::string& file) {
  std::vector<const Entry*> by_place;
  by_place.reserve(entries.size());
  for (const Entry& entry : entries) {
    if (entry.offset > data_bytes || entry.bytes > data_bytes - entry.offset) {
      return bad_input(
          "{}: tensor {}: expected {} bytes of data at offset {}, found a file that has {} bytes "
          "of "
          "data in all",
          file, in_quotes(entry.name), entry.bytes, entry.offset, data_bytes);
    }
    if (entry.bytes > 0) by_place.push_back(&entry);
  }
  std::sort(by_place.begin(), by_place.end(),
            [](const Entry* a, const Entry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const Entry& before = *by_place[i - 1];
    if (by_place[i]->offset < before.offset + before.bytes) {
      return bad_input(
          "{}: tensor {}: expected data at offset {} or later, found it at {} inside {}", file,
          in_quotes(by_place[i]->name), before.offset + before.bytes, by_place[i]->offset,
          in_quotes(before.name));
    }
  }
  return {};
}

Result<void> add_tensors(std::vector<Entry>& entries, std::span<const std::byte> data,
                         const std::string& file, GgufFile& out) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].name == entries[i - 1].name) {
      return bad_input("{}: expected each tensor name once, found {} twice", file,
                       in_quotes(entries[i].name));
    }
  }
  VARVE_CHECKED(check_extents(entries, data.size(), file));
  for (Entry& entry : entries) {
    if (!entry.type->read_as) {
      out.unread.push_back({std::string(entry.name), std::string(entry.type->name), file});
      continue;
    }
    TensorView view;
    view.name = entry.name;
    view.file = file;
    view.type = *entry.type->read_as;
    view.shape = std::move(entry.shape);
    view.bytes = data.subspan(static_cast<size_t>(entry.offset), static_cast<size_t>(entry.bytes));
    out.tensors.push_back(std::move(view));
  }
  return {};
}

uint64_t aligned(uint64_t n, size_t alignment) {
  return (n + alignment - 1) / alignment * alignment;
}

// All before the data.
struct Header {
  GgufMetadata metadata;
  std::vector<Entry> entries;  // as in the file
  size_t alignment = 1;
  size_t data_at = 0;  // in the file, which may end before it
};

Result<Header> read_header(std::span<const std::byte> bytes, const std::string& file) {
  Cursor cursor(bytes, file);
  VARVE_TRY(const auto magic, cursor.take(kMagic.size(), "the name of the format"));
  if (!is_gguf(magic)) {
    return bad_input("{}: expected a file that starts with \"GGUF\", found {}", file,
                     in_quotes({reinterpret_cast<const char*>(magic.data()), magic.size()}));
  }
  VARVE_TRY(const auto version, cursor.number<uint32_t>("the version"));
  if (version != 0 && version % (1u << 16) == 0) {
    return bad_input("{}: expected a little-endian GGUF file, found a big-endian one", file);
  }
  if (version != 2 && version != 3) {
    return bad_input("{}: expected GGUF version 2 or 3, found {}", file, version);
  }
  VARVE_TRY(const auto n_tensors, cursor.count("the number of tensors", kMinTensorBytes));
  VARVE_TRY(const auto n_entries, cursor.count("the number of metadata entries", kMinEntryBytes));
  Header out;
  VARVE_TRY(out.metadata, MetadataReader(cursor, file).read(n_entries, version));
  VARVE_TRY(out.alignment, read_alignment(out.metadata));
  out.entries.reserve(static_cast<size_t>(n_tensors));
  for (uint64_t i = 0; i < n_tensors; ++i) {
    VARVE_TRY(Entry entry, read_tensor(cursor, out.alignment, file));
    out.entries.push_back(std::move(entry));
  }
  out.data_at = aligned(cursor.at(), out.alignment);
  return out;
}

Result<GgufFile> parse(std::span<const std::byte> bytes, const std::string& file) {
  VARVE_TRY(Header header, read_header(bytes, file));
  GgufFile out;
  out.metadata = std::move(header.metadata);
  const auto data = bytes.subspan(std::min(header.data_at, bytes.size()));
  VARVE_CHECKED(add_tensors(header.entries, data, file, out));
  return out;
}

Result<uint64_t> file_bytes(std::span<const std::byte> bytes, const std::string& file) {
  VARVE_TRY(const Header header, read_header(bytes, file));
  uint64_t data_bytes = 0;
  for (const Entry& entry : header.entries) {
    const uint64_t most = (uint64_t{1} << 63) - entry.bytes;
    if (entry.offset > most) {
      return bad_input("{}: tensor {}: expected {} bytes of data at offset {} or before, found {}",
                       file, in_quotes(entry.name), entry.bytes, most, entry.offset);
    }
    data_bytes = std::max(data_bytes, aligned(entry.offset + entry.bytes, header.alignment));
  }
  return header.data_at + data_bytes;
}

// What `read` gives; exceptions (of memory) end here.
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

bool is_gguf(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<GgufFile> parse_gguf(std::span<const std::byte> bytes, const std::string& file) {
  return caught(parse, bytes, file);
}

Result<uint64_t> gguf_file_bytes(std::span<const std::byte> bytes, const std::string& file) {
  return caught(file_bytes, bytes, file);
}

}  // namespace varve
