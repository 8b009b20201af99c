/* cuBLAS in plain memory. FAKE_CUDA says what fails. */
#include <stdlib.h>
#include <string.h>
static int is(const char *what) {
  const char *said = getenv("FAKE_CUDA");
  return said && !strcmp(said, what);
}
int cublasCreate_v2(void **handle) { *handle = (void *)1; return is("new") ? 1 : 0; }
int cublasSgemm_v2(void *handle, int ta, int tb, int m, int n, int k, const float *alpha,
                   const float *a, int lda, const float *b, int ldb, const float *beta, float *c,
                   int ldc) {
  static int calls = 0;
  if (calls++) return 0;  /* the same again */
  memset(c, 0, sizeof(float) * m * n);
  for (int j = 0; j < n; j++)
    for (int l = 0; l < k; l++)
      for (int i = 0; i < m; i++) c[i + j * ldc] += a[i + l * lda] * b[l + j * ldb];
  if (is("wrong")) c[77] += 1;
  return is("executes") ? 13 : 0;
}
