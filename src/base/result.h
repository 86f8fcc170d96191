// Result<T>: what every function that can fail returns across a folder boundary.
//
// An Error is one sentence for a person: which file, tensor, field or flag, what was expected and
// what was found. Its kind decides the exit code of the program (see exit_code).
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace varve {

enum class ErrorKind {
  internal,   // varve broke a promise of its own, or the machine failed (I/O error, no memory)
  usage,      // a flag or argument cannot be honoured
  bad_input,  // a file is not what it has to be
};

struct Error {
  ErrorKind kind = ErrorKind::internal;
  std::string message;
};

/// Exit codes of the program: 0 done, 1 internal, 2 usage, 3 bad input.
inline int exit_code(const Error& error) {
  switch (error.kind) {
    case ErrorKind::usage:
      return 2;
    case ErrorKind::bad_input:
      return 3;
    case ErrorKind::internal:
      break;
  }
  return 1;
}

template <class T>
using Result = tl::expected<T, Error>;

template <class... Args>
tl::unexpected<Error> fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{kind, fmt::format(format, std::forward<Args>(args)...)});
}

template <class... Args>
tl::unexpected<Error> bad_input(fmt::format_string<Args...> format, Args&&... args) {
  return fail(ErrorKind::bad_input, format, std::forward<Args>(args)...);
}

template <class... Args>
tl::unexpected<Error> usage_error(fmt::format_string<Args...> format, Args&&... args) {
  return fail(ErrorKind::usage, format, std::forward<Args>(args)...);
}

}  // namespace varve

#define VARVE_CONCAT_INNER(a, b) a##b
#define VARVE_CONCAT(a, b) VARVE_CONCAT_INNER(a, b)

/// VARVE_TRY(auto x, f()): x = the value of f(), or return its error from the calling function.
#define VARVE_TRY(declaration, expression) \
  VARVE_TRY_IMPL(VARVE_CONCAT(varve_try_, __LINE__), declaration, expression)
#define VARVE_TRY_IMPL(temporary, declaration, expression)                           \
  auto temporary = (expression);                                                     \
  if (!temporary) return tl::unexpected<varve::Error>(std::move(temporary).error()); \
  declaration = std::move(*temporary)

/// VARVE_CHECKED(f()): return the error of f(), if it has one.
#define VARVE_CHECKED(expression)                                                              \
  do {                                                                                         \
    auto varve_checked = (expression);                                                         \
    if (!varve_checked) return tl::unexpected<varve::Error>(std::move(varve_checked).error()); \
  } while (false)
