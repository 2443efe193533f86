# Warnings, optimisation and sanitizers for our own targets; nothing global, so nanobind keeps its flags.
set(ARGUS_SANITIZE "" CACHE STRING "Sanitizers to build with: address, undefined, both with a comma, or thread")

function(argus_compiler_options target)
  target_compile_features(${target} PUBLIC cxx_std_17)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -Werror $<$<CONFIG:Release>:-O3>)
  if(ARGUS_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${ARGUS_SANITIZE} -fno-sanitize-recover=all
      -fno-omit-frame-pointer -g)
    target_link_options(${target} PUBLIC -fsanitize=${ARGUS_SANITIZE})
  endif()
endfunction()
