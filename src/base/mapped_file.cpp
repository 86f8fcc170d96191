#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/memory.h"

namespace varve {
namespace {

constexpr size_t kReadBytes = size_t{16} << 20;  // between two reports of progress

// Closes on every way out.
struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

Result<size_t> open_regular(const std::string& path, Descriptor& out) {
  out.fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (out.fd < 0) return bad_input("cannot open {}: {}", path, std::strerror(errno));
  struct stat info{};
  if (fstat(out.fd, &info) != 0) return bad_input("cannot stat {}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return bad_input("{} is not a regular file", path);
  return static_cast<size_t>(info.st_size);
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path, size_t min_bytes) {
  Descriptor descriptor;
  VARVE_TRY(const size_t size, open_regular(path, descriptor));
  MappedFile file;
  if (min_bytes > size) {
    // Read-only private pages are all the system's one page of zeros.
    void* const zeros =
        mmap(nullptr, min_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) {
      return bad_input("cannot map {} as {} bytes, the {} that it has and zeros: {}", path,
                       min_bytes, size, std::strerror(errno));
    }
    file.data_ = static_cast<const std::byte*>(zeros);
    file.size_ = min_bytes;
  }
  if (size == 0) return file;
  void* const at = mmap(const_cast<std::byte*>(file.data_), size, PROT_READ,
                        MAP_SHARED | (file.data_ == nullptr ? 0 : MAP_FIXED), descriptor.fd, 0);
  if (at == MAP_FAILED && errno == ENOMEM) {
    return usage_error(
        "{} has {} bytes; {} of address space are left to map it (the limit is `ulimit -v`)", path,
        size, address_space_left_bytes());
  }
  if (at == MAP_FAILED) return bad_input("cannot map {}: {}", path, std::strerror(errno));
  // Advice: where the page cache is still to be filled, with pages that are quicker to look up.
  madvise(at, size, MADV_HUGEPAGE);
  file.data_ = static_cast<const std::byte*>(at);
  file.size_ = std::max(size, min_bytes);
  return file;
}

Result<void> MappedFile::forget_after(size_t offset, const std::string& path) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  if (begin >= size_) return {};
  // Read-only private pages are all the system's one page of zeros.
  void* const at = mmap(const_cast<std::byte*>(data_) + begin, size_ - begin, PROT_READ,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (at != MAP_FAILED) return {};
  return bad_input("cannot map zeros in place of {}: {}", path, std::strerror(errno));
}

Result<void> MappedFile::replace_by_copy(const std::string& path,
                                         const std::function<void(size_t)>& progress) {
  Descriptor descriptor;
  VARVE_TRY(const size_t size, open_regular(path, descriptor));
  if (size != size_) {
    return bad_input("{} has {} bytes; expected the {} that it had before", path, size, size_);
  }
  if (size == 0) return {};
  void* const at = mmap(const_cast<std::byte*>(data_), size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (at == MAP_FAILED) {
    const int reason = errno;
    // Whether the old mapping still stands is not said: it is left alone.
    data_ = nullptr;
    size_ = 0;
    return fail(ErrorKind::internal, "cannot take {} bytes for a copy of {}: {}", size, path,
                std::strerror(reason));
  }
  is_copy_ = true;
  madvise(at, size, MADV_HUGEPAGE);
  for (size_t done = 0; done < size;) {
    const ssize_t n =
        read(descriptor.fd, static_cast<std::byte*>(at) + done, std::min(size - done, kReadBytes));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return bad_input("cannot read {}: {}", path, std::strerror(errno));
    if (n == 0) return bad_input("{} ends after {} bytes; expected {}", path, done, size);
    done += static_cast<size_t>(n);
    progress(static_cast<size_t>(n));
  }
  mprotect(at, size, PROT_READ);
  return {};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      is_copy_(std::exchange(other.is_copy_, false)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(is_copy_, other.is_copy_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  Descriptor descriptor;
  VARVE_TRY(const size_t size, open_regular(path, descriptor));
  if (size > max_bytes) {
    return bad_input("{} has {} bytes; at most {} are expected here", path, size, max_bytes);
  }
  std::string text(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = read(descriptor.fd, text.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return bad_input("cannot read {}: {}", path, std::strerror(errno));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  text.resize(done);
  return text;
}

}  // namespace varve
