// Package blas keeps the BLAS that Homeward is linked with to the threads that Homeward gives it.
package blas

// #cgo LDFLAGS: -ldl
// #define _GNU_SOURCE
// #include <dlfcn.h>
//
// // OpenBLAS has a thread per core, which fight those of our own workers. Another BLAS has no such function.
// static void one_blas_thread(void) {
// 	void (*set)(int) = (void (*)(int)) dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
// 	if (set)
// 		set(1);
// }
import "C"

// OneThread makes each call of the BLAS in this process run on the thread that calls.
func OneThread() { C.one_blas_thread() }
