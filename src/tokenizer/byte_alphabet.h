// The alphabet in which byte-level BPE files spell raw bytes: one printable character a byte.
//
// A byte that is printable in Latin-1 ('!'..'~', U+00A1..U+00AC, U+00AE..U+00FF) stands for itself;
// the 68 others are, in ascending order, U+0100 and up. So 0x20 is spelt U+0120 and 0x0A U+010A.
#pragma once

#include <string>
#include <string_view>

namespace varve {

/// Appends to `bytes` the bytes that `spelt` (UTF-8) stands for and returns true. If a character
/// of it is not of the alphabet, appends nothing and returns false.
bool append_spelt_bytes(std::string_view spelt, std::string& bytes);

}  // namespace varve
