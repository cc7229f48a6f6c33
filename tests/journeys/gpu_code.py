"""Models that compute on a GPU by the driver's own library alone, so that no package has to be there for it."""

#: `Gpu().scale(values, factor)`: a kernel in the driver's assembler, compiled for the card when it is loaded.
KERNEL = '''
import ctypes

PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry scale(.param .u64 data, .param .f32 factor, .param .u32 count)
{
    .reg .pred %p<2>;
    .reg .f32 %f<4>;
    .reg .b32 %r<6>;
    .reg .b64 %d<4>;
    ld.param.u64 %d1, [data];
    ld.param.f32 %f1, [factor];
    ld.param.u32 %r1, [count];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 ret;
    cvta.to.global.u64 %d1, %d1;
    mul.wide.u32 %d2, %r5, 4;
    add.s64 %d3, %d1, %d2;
    ld.global.f32 %f2, [%d3];
    mul.f32 %f3, %f2, %f1;
    st.global.f32 [%d3], %f3;
    ret;
}
"""


class Gpu:
    """The first card that is to be seen, and the kernel on it."""

    def __init__(self):
        self.cuda = ctypes.CDLL("libcuda.so.1")
        device, name = ctypes.c_int(), ctypes.create_string_buffer(100)
        self.context, module, self.kernel = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        self("cuInit", 0)
        self("cuDeviceGet", ctypes.byref(device), 0)
        self("cuDeviceGetName", name, 100, device)
        self("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        self("cuCtxSetCurrent", self.context)
        self("cuModuleLoadData", ctypes.byref(module), PTX)
        self("cuModuleGetFunction", ctypes.byref(self.kernel), module, b"scale")
        self.name = name.value.decode()

    def __call__(self, function, *arguments):
        status = getattr(self.cuda, function)(*arguments)
        if status:
            raise RuntimeError(f"{function} gave {status}")

    def scale(self, values, factor):
        """Each value times the factor, as the card computes it."""
        count, data = len(values), ctypes.c_uint64()
        block = (ctypes.c_float * count)(*values)
        size = ctypes.c_size_t(ctypes.sizeof(block))
        self("cuCtxSetCurrent", self.context)
        self("cuMemAlloc_v2", ctypes.byref(data), size)
        self("cuMemcpyHtoD_v2", data, block, size)
        given = data, ctypes.c_float(factor), ctypes.c_uint32(count)
        pointers = (ctypes.c_void_p * 3)(*(ctypes.addressof(each) for each in given))
        blocks = (count + 255) // 256
        self("cuLaunchKernel", self.kernel, blocks, 1, 1, 256, 1, 1, 0, None, pointers, None)
        self("cuMemcpyDtoH_v2", block, data, size)
        self("cuMemFree_v2", data)
        return list(block)
'''

#: Trains, and predicts, by what the card computes.
ON_GPU = (
    KERNEL
    + """

def train(table):
    gpu = Gpu()
    tripled = gpu.scale(table["x"].tolist(), 3)
    print("trained on", gpu.name)
    import os
    assert os.listdir(".") == [".modelyard"] or os.listdir(".") == [], os.listdir(".")
    return {"sum": sum(tripled), "gpu": gpu.name}


def initialize(model):
    return {**model, "card": Gpu()}


def predict(model, query):
    [value] = model["card"].scale([query["x"]], 3)
    return {"y": value, "sum": model["sum"], "gpu": model["card"].name}
"""
)

#: What a model sees of the machine's GPUs that did not ask for one: devices, variables, and what the driver answers.
LOOKS_FOR_GPUS = """
import ctypes, glob, json, os


def train():
    try:
        status = ctypes.CDLL("libcuda.so.1").cuInit(0)
    except OSError as error:
        status = str(error)
    devices, visible = glob.glob("/dev/nvidia*"), os.environ["CUDA_VISIBLE_DEVICES"]
    print(json.dumps({"devices": devices, "visible": visible, "cuInit": status}))


def predict(model, query):
    return query
"""

#: Holds a GPU for a second and says from when to when, in seconds of a clock that all guests share.
HOLDS_ITS_GPU = (
    KERNEL
    + """

def train():
    import time
    begin = time.monotonic()
    gpu = Gpu()
    while time.monotonic() < begin + 1:
        gpu.scale([1.0] * 1000, 2)
    print(begin, time.monotonic())


def predict(model, query):
    return query
"""
)

#: One row: what the function sees of a GPU.
ROWS_ON_GPU = """
import ctypes
import glob

import pandas


def rows():
    cards = len([path for path in glob.glob("/dev/nvidia*") if path[11:].isdigit()])
    return pandas.DataFrame({"cuda": [ctypes.CDLL("libcuda.so.1").cuInit(0)], "cards": [cards]})
"""

#: Learns nothing from what it reads.
READS = """
def train(table):
    print(table.to_dict("records"))


def predict(model, query):
    return query
"""

#: y is a; predictions by `predict` say how many cards they see, or fail.
LEARNS = """
import glob


def train(table):
    return None


def predict(model, query):
    cards = len([path for path in glob.glob("/dev/nvidia*") if path[11:].isdigit()])
    assert cards == CARDS, cards
    return query["a"]
"""
