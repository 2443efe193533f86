# What links against OpenVINO, our operations for it and the engine that needs no interpreter: a library of its own, built where OpenVINO's development files are found (its wheel
# brings them) for that very version, which stands in the file's name. Nothing else depends on it. An OpenVINO
# elsewhere than in the building interpreter is named by OpenVINO_DIR, the folder of OpenVINOConfig.cmake.
set(find_wheel "
from importlib.util import find_spec
spec = find_spec('openvino')
print(*(spec.submodule_search_locations if spec else ()))
")
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c "${find_wheel}"
  OUTPUT_STRIP_TRAILING_WHITESPACE OUTPUT_VARIABLE wheel COMMAND_ERROR_IS_FATAL ANY)
find_package(OpenVINO QUIET COMPONENTS Runtime HINTS "${wheel}/cmake")
if(NOT OpenVINO_FOUND OR OpenVINO_VERSION VERSION_LESS 2025.0)
  message(STATUS "OpenVINO 2025.0 or later: no development files, our operations for it are not built")
  return()
endif()
message(STATUS "OpenVINO ${OpenVINO_VERSION}: ${OpenVINO_DIR}")

add_library(_openvino_ops MODULE runtime/native/openvino_ops.cpp runtime/native/openvino_engine.cpp)
target_link_libraries(_openvino_ops PRIVATE argus_core openvino::runtime)
argus_compiler_options(_openvino_ops)
set_target_properties(_openvino_ops PROPERTIES
  OUTPUT_NAME "_openvino_ops-${OpenVINO_VERSION}"
  PREFIX ""
  SUFFIX ".so")
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  # A model may outlive whatever loaded its operations.
  target_link_options(_openvino_ops PRIVATE "LINKER:-z,nodelete")
endif()
install(TARGETS _openvino_ops DESTINATION ${destination})
