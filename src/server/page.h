// The page at /: its files, which are part of the program.
#pragma once

#include <span>
#include <string_view>

namespace varve::server {

struct PageFile {
  std::string_view path;  // "/" or "/page.js"
  std::string_view content_type;
  std::string_view bytes;
};

/// All of them. Made from web/ by the build.
std::span<const PageFile> page_files();

/// Null: the path is none of the page.
inline const PageFile* page_file(std::string_view path) {
  for (const PageFile& file : page_files()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

}  // namespace varve::server
