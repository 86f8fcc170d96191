#include "formats/safetensors_writer.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "formats/json_reader.h"

namespace varve {
namespace {

std::string part_path(const std::string& path) {
  return path + ".part";
}

tl::unexpected<Error> system_error(const std::string& path, std::string_view doing) {
  return fail(ErrorKind::internal, "cannot {} {}: {}", doing, path, std::strerror(errno));
}

// Throws nlohmann's exception on a name that is not UTF-8.
std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump();
}

std::string header_text(const std::vector<DeclaredTensor>& tensors,
                        const std::vector<int64_t>& sizes_bytes, const Metadata& metadata) {
  std::string text = "{";
  const auto separate = [&text] {
    if (text.back() != '{') text += ',';
  };
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      separate();
      text += json_string(key) + ':' + json_string(value);
    }
    text += '}';
  }
  int64_t at = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    separate();
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        json_string(tensors[i].name), tensors[i].dtype,
                        fmt::join(tensors[i].shape, ","), at, at + sizes_bytes[i]);
    at += sizes_bytes[i];
  }
  text += '}';
  while (text.size() % 8 != 0) text += ' ';
  return text;
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string& path,
                                                    std::vector<DeclaredTensor> tensors,
                                                    const Metadata& metadata) {
  SafetensorsWriter writer;
  writer.path_ = path;
  std::unordered_set<std::string_view> names;
  int64_t total_bytes = 0;
  for (const DeclaredTensor& tensor : tensors) {
    const std::string name = in_quotes(tensor.name);
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      return bad_input("{}: tensor {}: expected a name that is not taken", path, name);
    }
    const auto bits = safetensors_bits(tensor.dtype);
    if (!bits) {
      return bad_input("{}: tensor {}: expected a safetensors dtype, found {}", path, name,
                       in_quotes(tensor.dtype));
    }
    const auto size = tensor_bytes(tensor.shape, *bits);
    if (!size || __builtin_add_overflow(total_bytes, *size, &total_bytes)) {
      return bad_input("{}: tensor {}: expected a shape of fewer than 2^63 whole bytes, found {}",
                       path, name, shape_string(tensor.shape));
    }
    writer.sizes_bytes_.push_back(*size);
  }
  std::string header;
  try {
    header = header_text(tensors, writer.sizes_bytes_, metadata);
  } catch (const std::exception& error) {
    return bad_input("{}: expected names and metadata in UTF-8, found {}", path, error.what());
  }
  if (header.size() > kMaxHeaderBytes) {
    return bad_input("{}: expected a header of at most {} bytes, found {}", path, kMaxHeaderBytes,
                     header.size());
  }
  writer.file_.reset(std::fopen(part_path(path).c_str(), "wb"));
  if (writer.file_ == nullptr) return system_error(part_path(path), "create");
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  for (const std::string* const text : {&length, &header}) {
    if (std::fwrite(text->data(), 1, text->size(), writer.file_.get()) != text->size()) {
      return system_error(part_path(path), "write");
    }
  }
  writer.tensors_ = std::move(tensors);
  writer.skip_full();
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ == nullptr) return;
  file_.reset();
  std::remove(part_path(path_).c_str());
}

void SafetensorsWriter::skip_full() {
  while (current_ < tensors_.size() && done_bytes_ == sizes_bytes_[current_]) {
    ++current_;
    done_bytes_ = 0;
  }
}

Result<void> SafetensorsWriter::write(std::string_view name, std::span<const std::byte> chunk) {
  if (file_ == nullptr) {
    return fail(ErrorKind::internal, "{}: tensor {}: the file is already finished", path_,
                in_quotes(name));
  }
  if (chunk.empty()) return {};
  if (current_ == tensors_.size() || tensors_[current_].name != name) {
    return fail(
        ErrorKind::internal, "{}: expected data of {}, found some of tensor {}", path_,
        current_ == tensors_.size() ? "no more tensors" : in_quotes(tensors_[current_].name),
        in_quotes(name));
  }
  const int64_t left_bytes = sizes_bytes_[current_] - done_bytes_;
  if (chunk.size() > static_cast<size_t>(left_bytes)) {
    return fail(ErrorKind::internal, "{}: tensor {}: expected at most {} bytes more, found {}",
                path_, in_quotes(name), left_bytes, chunk.size());
  }
  if (std::fwrite(chunk.data(), 1, chunk.size(), file_.get()) != chunk.size()) {
    return system_error(part_path(path_), "write");
  }
  done_bytes_ += static_cast<int64_t>(chunk.size());
  skip_full();
  return {};
}

Result<void> SafetensorsWriter::finish() {
  if (file_ == nullptr) return fail(ErrorKind::internal, "{}: it is already finished", path_);
  if (current_ < tensors_.size()) {
    return fail(ErrorKind::internal, "{}: tensor {}: expected {} bytes, found {}", path_,
                in_quotes(tensors_[current_].name), sizes_bytes_[current_], done_bytes_);
  }
  if (std::fflush(file_.get()) != 0) return system_error(part_path(path_), "write");
  if (std::fclose(file_.release()) != 0) {
    auto error = system_error(part_path(path_), "close");
    std::remove(part_path(path_).c_str());
    return error;
  }
  if (std::rename(part_path(path_).c_str(), path_.c_str()) != 0) {
    auto error = system_error(path_, "put the finished file at");
    std::remove(part_path(path_).c_str());
    return error;
  }
  return {};
}

}  // namespace varve
