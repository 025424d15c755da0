# The flags of every target of ours, as one interface target; never set directory-wide, so that a foreign project that
# adds dtq as a subdirectory keeps its own.
set(DTQ_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them")
option(DTQ_FUZZ "Build the libFuzzer targets (clang only)" OFF)
option(DTQ_COVERAGE "Instrument for gcov" OFF)
option(DTQ_VALGRIND "Tests that wait as long as programs under valgrind need" OFF)

add_library(dtq_flags INTERFACE)
target_compile_definitions(dtq_flags INTERFACE _GNU_SOURCE)
target_compile_options(dtq_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wvla -Wwrite-strings -Wformat=2 -Wundef -Wpointer-arith -Wcast-qual
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition>
  -fvisibility=hidden -fno-strict-aliasing -fno-omit-frame-pointer
  "-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=")
# Own bugs assert in every build: NDEBUG stays undefined.
foreach(config RELEASE RELWITHDEBINFO MINSIZEREL)
  string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_${config} "${CMAKE_C_FLAGS_${config}}")
  string(REPLACE "-DNDEBUG" "" CMAKE_CXX_FLAGS_${config} "${CMAKE_CXX_FLAGS_${config}}")
endforeach()

if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(dtq_flags INTERFACE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection)
  target_link_options(dtq_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()
if(DTQ_SANITIZE)
  target_compile_options(dtq_flags INTERFACE -fsanitize=${DTQ_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(dtq_flags INTERFACE -fsanitize=${DTQ_SANITIZE})
endif()
if(DTQ_COVERAGE)
  target_compile_options(dtq_flags INTERFACE --coverage)
  target_link_options(dtq_flags INTERFACE --coverage)
endif()
