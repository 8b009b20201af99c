/* A driver library of CUDA that works in plain memory. FAKE_CUDA says what fails. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int is(const char *what) {
  const char *said = getenv("FAKE_CUDA");
  return said && !strcmp(said, what);
}
int cuInit(unsigned flags) { return is("init") ? 999 : 0; }
int cuGetErrorName(int code, const char **text) { *text = "CUDA_ERROR_TEST"; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuCtxSynchronize(void) { if (is("hang")) sleep(60); return is("fault") ? 700 : 0; }
int cuMemAlloc_v2(uint64_t *place, size_t size) {
  *place = (uint64_t)(uintptr_t)malloc(size);
  return 0;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) {
  memcpy((void *)(uintptr_t)to, from, size);
  if (is("forgets")) ((float *)(uintptr_t)to)[4711] += 1;
  return 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
  memcpy(to, (void *)(uintptr_t)from, size);
  return 0;
}
