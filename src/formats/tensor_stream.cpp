#include "formats/tensor_stream.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
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

}  // namespace

Result<TensorStream> TensorStream::create(const std::string& path, std::string_view header,
                                          std::vector<SizedTensor> tensors, size_t alignment) {
  TensorStream stream;
  stream.path_ = path;
  stream.tensors_ = std::move(tensors);
  stream.alignment_ = alignment;
  stream.file_.reset(std::fopen(part_path(path).c_str(), "wb"));
  if (stream.file_ == nullptr) return system_error(part_path(path), "create");
  VARVE_CHECKED(stream.put(std::as_bytes(std::span(header))));
  VARVE_CHECKED(stream.skip_full());
  return stream;
}

TensorStream::~TensorStream() {
  if (file_ == nullptr) return;
  file_.reset();
  std::remove(part_path(path_).c_str());
}

Result<void> TensorStream::put(std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
    return system_error(part_path(path_), "write");
  }
  at_ += bytes.size();
  return {};
}

Result<void> TensorStream::skip_full() {
  const auto pad = [this]() -> Result<void> {
    const std::vector<std::byte> zeros((alignment_ - at_ % alignment_) % alignment_);
    return put(zeros);
  };
  if (done_bytes_ == 0) VARVE_CHECKED(pad());
  while (current_ < tensors_.size() && done_bytes_ == tensors_[current_].bytes) {
    ++current_;
    done_bytes_ = 0;
    VARVE_CHECKED(pad());
  }
  return {};
}

Result<void> TensorStream::write(std::string_view name, std::span<const std::byte> chunk) {
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
  const int64_t left_bytes = tensors_[current_].bytes - done_bytes_;
  if (chunk.size() > static_cast<size_t>(left_bytes)) {
    return fail(ErrorKind::internal, "{}: tensor {}: expected at most {} bytes more, found {}",
                path_, in_quotes(name), left_bytes, chunk.size());
  }
  VARVE_CHECKED(put(chunk));
  done_bytes_ += static_cast<int64_t>(chunk.size());
  return skip_full();
}

Result<void> TensorStream::finish() {
  if (file_ == nullptr) return fail(ErrorKind::internal, "{}: it is already finished", path_);
  if (current_ < tensors_.size()) {
    return fail(ErrorKind::internal, "{}: tensor {}: expected {} bytes, found {}", path_,
                in_quotes(tensors_[current_].name), tensors_[current_].bytes, done_bytes_);
  }
  // On the disk before it has its name: after a power cut no file with it is a part of one.
  if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0) {
    return system_error(part_path(path_), "write");
  }
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
