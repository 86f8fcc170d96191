add_executable(answer_fuzz ${CMAKE_CURRENT_LIST_DIR}/answer_fuzz.cpp)
target_link_libraries(answer_fuzz PRIVATE varve_options varve_chat)
target_link_options(answer_fuzz PRIVATE -fsanitize=fuzzer)
