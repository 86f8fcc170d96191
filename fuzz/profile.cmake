add_executable(profile_fuzz ${CMAKE_CURRENT_LIST_DIR}/profile_fuzz.cpp ${PROJECT_SOURCE_DIR}/src/cli/profile_file.cpp)
target_link_libraries(profile_fuzz PRIVATE varve_options varve_tokenizer CLI11::CLI11)
target_link_options(profile_fuzz PRIVATE -fsanitize=fuzzer)
