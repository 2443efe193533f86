#pragma once

#include <nanobind/nanobind.h>

/// The scheduler, the pipeline and what they take and give (scheduling.cpp).
void bind_scheduling(nanobind::module_& m);

/// What runs a package's graphs without the interpreter (graphs.cpp).
void bind_graphs(nanobind::module_& m);
