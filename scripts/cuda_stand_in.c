/* Stands in for NVIDIA's driver where there is no GPU. In: calls of the driver's interface, as CUDA programs make
 * them. Out: memory that is the host's, copies that are made, modules that are written to the folder
 * $FILO_PTX, launches that are checked against the limits of a device and do nothing, but for the sums,
 * products and casts of a few numbers by which a program sees whether a device computes. So everything that a
 * program does on a GPU happens, but for its numbers: NVRTC compiles every kernel, and what it gives can
 * be looked at. $FILO_ARCH is the compute capability, 90 unless set. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int result;
typedef void *handle;
typedef uintptr_t address;

enum { SUCCESS, INVALID_VALUE, OUT_OF_MEMORY };

static int arch(void) {
    const char *set = getenv("FILO_ARCH");
    return set ? atoi(set) : 90;
}

result cuInit(unsigned flags) { return SUCCESS; }
result cuDriverGetVersion(int *version) { *version = 12090; return SUCCESS; }
result cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? 101 : SUCCESS; }
result cuDeviceGetName(char *name, int len, int device) {
    snprintf(name, len, "stand-in for a GPU, sm_%d", arch());
    return SUCCESS;
}
result cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 16ul << 30; return SUCCESS; }
result cuDeviceGetUuid_v2(char *uuid, int device) { memset(uuid, 0, 16); return SUCCESS; }

/* Numbers of CUdevice_attribute. */
result cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
        case 1: *value = 1024; break;                            /* threads of a block */
        case 2: case 3: *value = 1024; break;                    /* its x and y */
        case 4: *value = 64; break;                              /* its z */
        case 5: *value = 2147483647; break;                      /* blocks, x */
        case 6: case 7: *value = 65535; break;                   /* y and z */
        case 8: *value = 49152; break;                           /* shared memory of a block */
        case 10: *value = 32; break;                             /* warp */
        case 12: *value = 65536; break;                          /* registers of a block */
        case 16: *value = 132; break;                            /* multiprocessors */
        case 39: *value = 2048; break;                           /* threads of a multiprocessor */
        case 75: *value = arch() / 10; break;
        case 76: *value = arch() % 10; break;
        case 81: *value = 228 << 10; break;                      /* shared memory of a multiprocessor */
        case 97: *value = (arch() >= 90 ? 227 : 163) << 10; break; /* of a block that asks for it */
        case 115: *value = 1; break;                             /* memory pools */
        default: *value = 0;
    }
    return SUCCESS;
}

static int context, stream, event;
result cuDevicePrimaryCtxRetain(handle *out, int device) { *out = &context; return SUCCESS; }
result cuDevicePrimaryCtxRelease_v2(int device) { return SUCCESS; }
result cuCtxSetCurrent(handle c) { return SUCCESS; }
result cuCtxGetCurrent(handle *out) { *out = &context; return SUCCESS; }
result cuCtxGetDevice(int *device) { *device = 0; return SUCCESS; }
result cuCtxSynchronize(void) { return SUCCESS; }
result cuStreamCreate(handle *out, unsigned flags) { *out = &stream; return SUCCESS; }
result cuStreamDestroy_v2(handle s) { return SUCCESS; }
result cuStreamSynchronize(handle s) { return SUCCESS; }
result cuStreamQuery(handle s) { return SUCCESS; }
result cuStreamWaitEvent(handle s, handle e, unsigned flags) { return SUCCESS; }
result cuEventCreate(handle *out, unsigned flags) { *out = &event; return SUCCESS; }
result cuEventRecord(handle e, handle s) { return SUCCESS; }
result cuEventQuery(handle e) { return SUCCESS; }
result cuEventSynchronize(handle e) { return SUCCESS; }
result cuEventDestroy_v2(handle e) { return SUCCESS; }
result cuEventElapsedTime(float *ms, handle from, handle to) { *ms = 1; return SUCCESS; }
result cuEventElapsedTime_v2(float *ms, handle from, handle to) { *ms = 1; return SUCCESS; }

static result allocate(void **out, size_t bytes) {
    /* Zeros, where a GPU would have anything. */
    *out = calloc(1, bytes ? bytes + 512 : 512);
    return *out ? SUCCESS : OUT_OF_MEMORY;
}
result cuMemAlloc_v2(address *out, size_t bytes) { return allocate((void **)out, bytes); }
result cuMemAllocAsync(address *out, size_t bytes, handle s) { return allocate((void **)out, bytes); }
result cuMemFree_v2(address at) { free((void *)at); return SUCCESS; }
result cuMemFreeAsync(address at, handle s) { free((void *)at); return SUCCESS; }
result cuMemAllocHost_v2(void **out, size_t bytes) { return allocate(out, bytes); }
result cuMemHostAlloc(void **out, size_t bytes, unsigned flags) { return allocate(out, bytes); }
result cuMemFreeHost(void *at) { free(at); return SUCCESS; }
result cuMemGetInfo_v2(size_t *free, size_t *total) { *free = 15ul << 30; *total = 16ul << 30; return SUCCESS; }
result cuMemsetD8Async(address at, unsigned char value, size_t bytes, handle s) {
    memset((void *)at, value, bytes);
    return SUCCESS;
}
result cuMemcpyHtoD_v2(address to, const void *from, size_t bytes) { memcpy((void *)to, from, bytes); return SUCCESS; }
result cuMemcpyDtoH_v2(void *to, address from, size_t bytes) { memcpy(to, (void *)from, bytes); return SUCCESS; }
result cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, handle s) { return cuMemcpyHtoD_v2(to, from, bytes); }
result cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, handle s) { return cuMemcpyDtoH_v2(to, from, bytes); }
result cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, handle s) { memmove((void *)to, (void *)from, bytes); return SUCCESS; }

/* CUDA_MEMCPY2D. */
struct place { size_t x, y; unsigned type; const void *host; address device; handle array; size_t pitch; };
struct copy { struct place from, to; size_t bytes, rows; };
result cuMemcpy2DAsync_v2(const struct copy *copy, handle s) {
    const struct place *places[2] = {&copy->from, &copy->to};
    char *at[2];
    for (int i = 0; i < 2; i++) {
        /* 1: memory of the host. */
        char *base = places[i]->type == 1 ? (char *)places[i]->host : (char *)places[i]->device;
        at[i] = base + places[i]->y * places[i]->pitch + places[i]->x;
    }
    for (size_t row = 0; row < copy->rows; row++)
        memcpy(at[1] + row * places[1]->pitch, at[0] + row * places[0]->pitch, copy->bytes);
    return SUCCESS;
}

struct kernel {
    char *name;
    int multiplies, buffers;
};

result cuModuleLoadData(handle *out, const void *image) {
    static int count;
    const char *folder = getenv("FILO_PTX");
    *out = strdup(image);
    if (!folder) return SUCCESS;
    char name[4096];
    snprintf(name, sizeof name, "%s/%d-%d.ptx", folder, getpid(), __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST));
    FILE *file = fopen(name, "w");
    if (!file || fputs(image, file) == EOF || fclose(file)) {
        perror(name);
        return INVALID_VALUE;
    }
    return SUCCESS;
}
result cuModuleUnload(handle module) { free(module); return SUCCESS; }
result cuModuleGetFunction(handle *out, handle module, const char *name) {
    struct kernel *kernel = malloc(sizeof *kernel);
    kernel->name = strdup(name);
    kernel->buffers = 0;
    for (const char *at = module; (at = strstr(at, ".param .u64 ")); at++) kernel->buffers++;
    kernel->multiplies = strstr(module, "mul.f") || strstr(module, "mul.bf") || strstr(module, "mul.rn");
    *out = kernel;
    return SUCCESS;
}
result cuFuncSetAttribute(handle function, int attribute, int value) { return SUCCESS; }
result cuFuncGetAttribute(int *value, int attribute, handle function) { *value = 0; return SUCCESS; }

/* Number `at` of a buffer in the format that a kernel's name has. */
static float get(const char *format, const void *from, int at) {
    const uint16_t half = ((const uint16_t *)from)[at];
    if (!strncmp(format, "bf16", 4)) {
        uint32_t bits = (uint32_t)half << 16;
        float number;
        memcpy(&number, &bits, 4);
        return number;
    }
    return format[1] == '1' ? (float)((const _Float16 *)from)[at] : ((const float *)from)[at];
}
static void put(const char *format, void *to, int at, float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    if (!strncmp(format, "bf16", 4))
        ((uint16_t *)to)[at] = bits >> 16; /* Exact for the small whole numbers it is asked for. */
    else if (format[1] == '1')
        ((_Float16 *)to)[at] = (_Float16)number;
    else
        ((float *)to)[at] = number;
}

/* Kernels `…binop_c_FORMAT_n_WIDTH` of buffers x, y and the result, or of x, which is also the result, and y;
 * `cast_element_i_FORMAT_o_FORMAT_n_WIDTH` of x and the result. After the buffers comes what is known of them, of
 * which the third number is how many vectors of that width there are. */
static void compute(const struct kernel *kernel, void **arguments) {
    const char *in = strstr(kernel->name, "binop_c_"), *width = strstr(kernel->name, "_n_");
    const char *cast = strstr(kernel->name, "cast_element_i_"), *to = strstr(kernel->name, "_o_");
    if (!in && !(cast && to) || !width || kernel->buffers < 2) return;
    in = in ? in + strlen("binop_c_") : cast + strlen("cast_element_i_");
    const char *out = cast ? to + strlen("_o_") : in;
    const void *x = *(void **)arguments[0], *y = *(void **)arguments[1];
    void *result = *(void **)arguments[cast ? 1 : kernel->buffers > 2 ? 2 : 0];
    unsigned numbers = ((unsigned *)arguments[kernel->buffers])[2] * atoi(width + strlen("_n_"));
    if (numbers > 8) return;
    for (unsigned at = 0; at < numbers; at++) {
        float a = get(in, x, at);
        put(out, result, at, cast ? a : kernel->multiplies ? a * get(in, y, at) : a + get(in, y, at));
    }
}

result cuLaunchKernel(handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, handle s, void **arguments, void **extra) {
    const struct kernel *kernel = function;
    int most_shared;
    cuDeviceGetAttribute(&most_shared, 97, 0);
    int fits = gx && gy && gz && bx && by && bz && gy <= 65535 && gz <= 65535 && bz <= 64
               && (unsigned long)bx * by * bz <= 1024 && shared <= (unsigned)most_shared;
    if (!fits)
        fprintf(stderr, "%s: no device launches %u,%u,%u blocks of %u,%u,%u threads and %u bytes\n",
                kernel->name, gx, gy, gz, bx, by, bz, shared);
    if (fits && (unsigned long)gx * gy * gz == 1) compute(kernel, arguments);
    return fits ? SUCCESS : INVALID_VALUE;
}

result cuGetErrorName(result error, const char **out) { *out = "an error of the stand-in"; return SUCCESS; }
result cuGetErrorString(result error, const char **out) { return cuGetErrorName(error, out); }
