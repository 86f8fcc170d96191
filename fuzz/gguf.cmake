add_executable(gguf_fuzz ${CMAKE_CURRENT_LIST_DIR}/gguf_fuzz.cpp)
target_link_libraries(gguf_fuzz PRIVATE varve_options varve_formats)
target_link_options(gguf_fuzz PRIVATE -fsanitize=fuzzer)
