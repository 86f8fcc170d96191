#include "server/listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

namespace varve::server {
namespace {

// Connections that the kernel keeps until they are taken.
constexpr int kBacklog = 128;

int port_of(int socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

}  // namespace

OwnedFile::OwnedFile(OwnedFile&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

OwnedFile& OwnedFile::operator=(OwnedFile&& other) noexcept {
  std::swap(file_, other.file_);
  return *this;
}

OwnedFile::~OwnedFile() {
  if (file_ >= 0) close(file_);
}

Result<Listener> listen_at(const std::string& host, int port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int problem = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (problem != 0) return usage_error("--host {}: {}", host, gai_strerror(problem));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(found, freeaddrinfo);
  int last_error = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    OwnedFile socket(::socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                              one->ai_protocol));
    const int yes = 1;
    if (socket.get() >= 0 &&
        setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
        bind(socket.get(), one->ai_addr, one->ai_addrlen) == 0 &&
        listen(socket.get(), kBacklog) == 0) {
      const int taken = port_of(socket.get());
      return Listener{std::move(socket), taken};
    }
    last_error = errno;
  }
  return usage_error("cannot listen at {} port {}: {}", host, port, std::strerror(last_error));
}

Result<OwnedFile> make_signal_file() {
  OwnedFile file(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (file.get() < 0) {
    return fail(ErrorKind::internal, "cannot make an event file: {}", std::strerror(errno));
  }
  return file;
}

void signal_file(const OwnedFile& file) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(file.get(), &one, sizeof one);
}

}  // namespace varve::server
