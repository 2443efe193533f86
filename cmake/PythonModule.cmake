# The extension argus_edge.runtime._native and its stub, and what an editable install needs besides.
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(
  COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir
  OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE nanobind_ROOT COMMAND_ERROR_IS_FATAL ANY)
find_package(nanobind CONFIG REQUIRED)

nanobind_add_module(_native NB_STATIC NOMINSIZE
  runtime/native/bindings.cpp
  runtime/native/graphs.cpp
  runtime/native/scheduling.cpp)
target_link_libraries(_native PRIVATE argus_core)
argus_compiler_options(_native)
nanobind_add_stub(_native_stub
  MODULE _native
  OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/_native.pyi"
  PYTHON_PATH $<TARGET_FILE_DIR:_native>
  DEPENDS _native)

set(destination argus_edge/runtime)
if(SKBUILD_STATE STREQUAL "editable")
  # The checkout's folders lie side by side; links give them the installed layout, as plain files that the
  # interpreter, type checkers and editors all understand. Only `argus_edge` goes on the path.
  foreach(part runtime train export)
    file(CREATE_LINK "../${part}" "${PROJECT_SOURCE_DIR}/argus_edge/${part}" SYMBOLIC)
  endforeach()
  set(view "${PROJECT_SOURCE_DIR}/build/view")
  file(MAKE_DIRECTORY "${view}")
  file(CREATE_LINK "../../argus_edge" "${view}/argus_edge" SYMBOLIC)
  file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/argus_edge_checkout.pth" "${view}\n")
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/argus_edge_checkout.pth" DESTINATION "${SKBUILD_PLATLIB_DIR}")
  set(destination "${PROJECT_SOURCE_DIR}/runtime")
endif()
install(TARGETS _native DESTINATION ${destination})
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/_native.pyi" DESTINATION ${destination})
