add_executable(config_fuzz ${CMAKE_CURRENT_LIST_DIR}/config_fuzz.cpp)
target_link_libraries(config_fuzz PRIVATE varve_options varve_models)
target_link_options(config_fuzz PRIVATE -fsanitize=fuzzer)
