#include "cli/interrupts.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace varve::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;
std::array<int, 2> ends = {-1, -1};  // of a pipe: what is read, what is written; neither blocks

void note_interrupt(int) {
  interrupted = 1;
  const int before = errno;
  [[maybe_unused]] const ssize_t n = write(ends[1], "", 1);  // a full pipe says it already
  errno = before;
}

}  // namespace

Result<void> catch_interrupts(Interrupts which) {
  // Where standard input is closed its number is free: the pipe is not to be taken for it.
  if (fcntl(STDIN_FILENO, F_GETFD) < 0) open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) {
    return fail(ErrorKind::internal, "cannot make a pipe for Ctrl-C: {}", std::strerror(errno));
  }
  struct sigaction action = {};
  action.sa_handler = note_interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  if (which == Interrupts::ctrl_c_and_terminate) sigaction(SIGTERM, &action, nullptr);
  return {};
}

bool was_interrupted() {
  return interrupted != 0;
}

// The pipe first: one that comes in between leaves its byte there and is not lost.
void forget_interrupts() {
  std::array<char, 64> bytes;
  while (read(ends[0], bytes.data(), bytes.size()) > 0) continue;
  interrupted = 0;
}

int interrupt_file() {
  return ends[0];
}

}  // namespace varve::cli
