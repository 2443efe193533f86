# TensorRT as an engine that needs no interpreter: a library of its own, built where the headers and libraries
# of TensorRT and CUDA are found, as on a Jetson with JetPack's development packages. Nothing else depends on
# it. Those that lie elsewhere are named by TensorRT_ROOT and CUDA_ROOT, folders with `include` and `lib`.
set(cuda_places HINTS "${CUDA_ROOT}" ENV CUDA_ROOT PATHS /usr/local/cuda)
find_path(TensorRT_INCLUDE_DIR NvInferRuntime.h HINTS "${TensorRT_ROOT}" ENV TensorRT_ROOT PATH_SUFFIXES include)
find_library(TensorRT_LIBRARY nvinfer HINTS "${TensorRT_ROOT}" ENV TensorRT_ROOT PATH_SUFFIXES lib)
find_path(CUDART_INCLUDE_DIR cuda_runtime_api.h ${cuda_places} PATH_SUFFIXES include)
find_library(CUDART_LIBRARY cudart ${cuda_places} PATH_SUFFIXES lib lib64)
foreach(part TensorRT_INCLUDE_DIR TensorRT_LIBRARY CUDART_INCLUDE_DIR CUDART_LIBRARY)
  if(NOT ${part})
    message(STATUS "TensorRT: ${part} is not found, its engine in C++ is not built")
    return()
  endif()
endforeach()
message(STATUS "TensorRT: ${TensorRT_LIBRARY}")

add_library(_tensorrt MODULE runtime/native/tensorrt_engine.cpp)
target_include_directories(_tensorrt SYSTEM PRIVATE "${TensorRT_INCLUDE_DIR}" "${CUDART_INCLUDE_DIR}")
target_link_libraries(_tensorrt PRIVATE argus_core "${CUDART_LIBRARY}" "${TensorRT_LIBRARY}")
argus_compiler_options(_tensorrt)
set_target_properties(_tensorrt PROPERTIES PREFIX "" SUFFIX ".so")
install(TARGETS _tensorrt DESTINATION ${destination})
