add_executable(store_value_fuzz ${CMAKE_CURRENT_LIST_DIR}/store_value_fuzz.cpp)
target_link_libraries(store_value_fuzz PRIVATE varve_options varve_store)
target_link_options(store_value_fuzz PRIVATE -fsanitize=fuzzer)
