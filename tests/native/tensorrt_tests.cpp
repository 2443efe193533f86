// The engine of TensorRT against a fake of TensorRT's and CUDA's published APIs (fakes/), meant to run under
// a sanitizer: exit status 0 when all hold.

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "engine_api.h"

extern "C" const ArgusEngineApi* argus_engine_api();

namespace {

using Bytes = std::array<std::uint8_t, 8>;
std::array<char, 256> error{};

void expect(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "failed: %s (%s)\n", what, error.data());
        std::exit(1);
    }
}

bool says(const char* part) { return std::strstr(error.data(), part) != nullptr; }

ArgusEngine* open(const char* plan, const char* host_code = nullptr) {
    const char* const file = "tensorrt_tests.plan";
    std::ofstream(file) << plan;
    const char* const settings[] = {"HOST_CODE", host_code};
    ArgusEngine* const engine =
        argus_engine_api()->open(file, settings, host_code == nullptr ? 0 : 1, error.data(), error.size());
    std::remove(file);
    return engine;
}

void bind(ArgusEngine* engine, const char* name, void* memory, int on_host) {
    expect(argus_engine_api()->bind(engine, name, memory, on_host, error.data(), error.size()) == 1, "binds");
}

// A backbone's features stay on the device, where a decoder reads them; only answers reach the host.
void features_stay_on_the_device(bool captures) {
    fake_device.captures = captures;
    const ArgusEngineApi& api = *argus_engine_api();
    Bytes other{}, answer{};
    void* const features = api.allocate(answer.size(), error.data(), error.size());
    expect(fake_device.holds(features, answer.size()), "features are the device's");
    ArgusEngine* const backbone = open("image in byte 1 8\nf0 out float 2\n");
    ArgusEngine* const decoder = open("f0 in float 1 2\npersons in byte 8\nboxes out byte 8\n");
    expect(backbone != nullptr && decoder != nullptr, "engines open");
    expect(api.bytes(backbone, "f0") == 8 && api.bytes(decoder, "boxes") == 8, "sizes are in bytes");
    expect(api.bytes(decoder, "none") == 0, "and 0 where there is none");
    bind(backbone, "f0", features, 0);
    bind(decoder, "f0", features, 0);
    bind(decoder, "persons", other.data(), 1);
    bind(decoder, "boxes", answer.data(), 1);
    Bytes images[2] = {};
    for (int frame = 0; frame < 4; ++frame) {  // an image elsewhere each time, as frames have their own
        Bytes& mine = images[frame % 2];
        mine.fill(static_cast<std::uint8_t>(10 * frame));
        other.fill(static_cast<std::uint8_t>(frame));
        bind(backbone, "image", mine.data(), 1);
        expect(api.run(backbone, error.data(), error.size()) == 1, "the backbone runs");
        expect(api.run(decoder, error.data(), error.size()) == 1, "the decoder runs");
        expect(answer[0] == 11 * frame + 2 && answer[7] == answer[0], "with this frame's image and persons");
    }
    expect(fake_device.launches == (captures ? 6 : 0),
           "from the second run on as a CUDA graph, where it can");
    fake_device.launches = 0;
    api.close(decoder);
    api.close(backbone);
    api.release(features);
    expect(fake_device.memory.empty() && fake_device.streams == 0 && fake_device.graphs == 0, "all is freed");
}

void failures_are_told() {
    const ArgusEngineApi& api = *argus_engine_api();
    expect(open("nonsense") == nullptr && says("magic tag does not match"), "no plan");
    expect(open("code\na in byte 1\n") == nullptr && says("host code"), "code along without leave");
    ArgusEngine* const allowed = open("code\na in byte 1\nb out byte 1\n", "1");
    expect(allowed != nullptr, "code along with leave");
    expect(api.run(allowed, error.data(), error.size()) == 0 && says("no address for a"), "nothing is bound");
    api.close(allowed);
    expect(open("a in byte 1 -1\nb out byte 1\n") == nullptr && says("no fixed shape"), "a side left open");
    expect(open("a in int4 2\nb out byte 1\n") == nullptr && says("less than a byte"), "half a byte");
    std::string large;
    for (int tensor = 0; tensor < 9; ++tensor) {
        large += std::to_string(tensor) + " in byte 1\n";
    }
    expect(open(large.c_str()) == nullptr && says("not enough memory"), "no context");
    const char* const settings[] = {"DLA", "1"};
    expect(api.open("none", settings, 1, error.data(), error.size()) == nullptr && says("DLA"), "a setting");
    expect(api.open("none", nullptr, 0, error.data(), error.size()) == nullptr && says("cannot be read"),
           "a file");
    expect(api.allocate(std::size_t{1} << 30, error.data(), error.size()) == nullptr && says("out of memory"),
           "no memory");
    expect(fake_device.memory.empty() && fake_device.streams == 0, "nothing is left behind");
}

}  // namespace

int main() {
    features_stay_on_the_device(true);
    features_stay_on_the_device(false);
    failures_are_told();
    return 0;
}
